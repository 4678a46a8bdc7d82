"""Text that is added to messages."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from upesi.config.problems import ConfigError
from upesi.plugins.banner.plugin import Banner
from upesi.testkit import Trial

_TEXT = {"plain": "Example Ltd.\nA <b> & c"}
_PLAIN = b"From: a@example.com\r\n\r\nhello\r\n"


async def changed(
    message: bytes, settings: Mapping[str, object], identity: str | None = "anna"
) -> tuple[bytes, tuple[str, str]]:
    """Return what is stored, and the result."""
    trial = Trial.of(Banner, settings)
    trial.session.identity = identity
    await trial.mail()
    await trial.message(message)
    assert trial.events == []
    return b"".join(trial.tx.edited.chunks()), trial.tx.results["banner"]


async def test_text_is_added_to_mail_of_our_own_people():
    """The text at the end; HTML is made of it."""
    octets, result = await changed(_PLAIN, _TEXT)
    assert octets == _PLAIN + b"Example Ltd.\r\nA <b> & c\r\n"
    assert result == ("pass", "message")
    octets, _ = await changed(b"Content-Type: text/html\r\n\r\n<body>hello</body>\r\n", _TEXT)
    assert octets.endswith(b"hello<p>Example Ltd.<br>A &lt;b&gt; &amp; c</p></body>\r\n")


@pytest.mark.parametrize(
    ("mail", "identity", "added"),
    [("ours", None, False), ("strangers", None, True), ("strangers", "anna", False), ("all", None, True), ("all", "anna", True)],
)  # fmt: skip
async def test_whose_mail_gets_it_is_a_setting(mail: str, identity: str | None, added: bool):
    """A notice on what goes out, or a warning on what comes in."""
    octets, result = await changed(_PLAIN, {**_TEXT, "mail": mail}, identity)
    assert (octets != _PLAIN) == added
    assert result == (("pass", "message") if added else ("skip", "not this mail"))


@pytest.mark.parametrize("field", [b"DKIM-Signature", b"ARC-Message-Signature"])
async def test_mail_that_somebody_signed_is_left_alone(field: bytes):
    """C120: a banner breaks the signature, and whoever gets the mail next may refuse it: by default nothing breaks by accident."""
    message = field + b": v=1; d=example.com\r\n" + _PLAIN
    assert await changed(message, _TEXT) == (message, ("skip", "signed"))
    octets, result = await changed(message, {**_TEXT, "signed": "edit"})
    assert octets.startswith(message)
    assert result == ("pass", "message")


async def test_what_is_sealed_is_left_alone():
    """S/MIME and PGP: whatever the settings say."""
    message = b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\n\r\ny\r\n--b--\r\n"
    octets, result = await changed(message, {**_TEXT, "signed": "edit"})
    assert octets == message
    assert result[0] == "skip"


@pytest.mark.parametrize(
    "settings", [{}, {"plain": "  "}, {"plain": "x" * 10_001}, {"plain": "x", "html": "x" * 10_001}]
)
def test_settings_without_a_text_stop_the_start_up(settings: dict[str, object]):
    """A banner of nothing is a mistake."""
    with pytest.raises(ConfigError):
        Trial.of(Banner, settings)
