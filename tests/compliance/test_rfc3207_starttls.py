"""RFC 3207 and RFC 8314: TLS by STARTTLS and from the first octet, on the server's side. Each docstring names the clause."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from tlskit import Authority, Clock, SecureDialogue, loaded, make_acceptor, write

from upesi.tls.acceptor import Acceptor, Handshakes
from upesi.tls.contexts import client_context
from upesi.tls.folder import Certificates

EHLO = "EHLO client.example"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one certificate."""
    write(tmp_path / "certificates", "mx.pem", Authority().issue("mx.example.net").both)
    return tmp_path / "certificates"


def keywords(answer: list[str]) -> set[str]:
    """The extensions in an answer to EHLO."""
    return {line[4:].split()[0] for line in answer[1:]}


# -- RFC 3207


def test_starttls_is_listed_in_clear_only(folder: Path) -> None:
    """C45, section 4.2: "A server MUST NOT return the STARTTLS extension in response to an EHLO command received after a TLS handshake"."""
    talk = SecureDialogue(make_acceptor(folder))
    talk.heard()
    assert "STARTTLS" in keywords(talk.say(EHLO))
    assert talk.codes("STARTTLS") == ["220"]
    talk.shake()
    assert "STARTTLS" not in keywords(talk.say(EHLO))
    assert talk.codes("STARTTLS") == ["503"]


def test_starttls_has_no_parameters(folder: Path) -> None:
    """C45, section 4: 501 "Syntax error (no parameters allowed)", and the session goes on in clear."""
    talk = SecureDialogue(make_acceptor(folder))
    talk.hello()
    assert talk.codes("STARTTLS x", "NOOP") == ["501", "250"]


def test_starttls_that_cannot_be_had_now(tmp_path: Path) -> None:
    """C45, section 4: 454 "TLS not available due to temporary reason"; the client decides whether to go on."""
    talk = SecureDialogue(Acceptor(Certificates(tmp_path, "mx.example.net"), Handshakes(9, 9), Clock()))
    talk.hello()
    assert talk.codes("STARTTLS") == ["454"]
    assert talk.codes("MAIL FROM:<a@example.org>") == ["250"]


def test_a_public_server_takes_mail_without_tls(folder: Path) -> None:
    """Section 4: "A publicly-referenced SMTP server MUST NOT require use of the STARTTLS extension": the default does not."""
    talk = SecureDialogue(make_acceptor(folder))
    talk.begin()
    assert talk.send()[0].startswith("250 ")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("NOOP", "250"), ("EHLO other.example", "250"), ("RSET", "250"), ("VRFY joe", "252"), ("QUIT", "221"),
        ("MAIL FROM:<a@example.org>", "530"),
    ],
)  # fmt: skip
def test_a_server_that_requires_tls_says_so(folder: Path, command: str, code: str) -> None:
    """Section 4: 530 "Must issue a STARTTLS command first" to what would begin mail, not to NOOP, EHLO, STARTTLS and QUIT."""
    talk = SecureDialogue(make_acceptor(folder, required=True))
    talk.hello()
    assert talk.codes(command) == [code]


@pytest.mark.parametrize("lmtp", [False, True])
def test_everything_is_forgotten(folder: Path, lmtp: bool) -> None:
    """C46, section 4.2: "The server MUST discard any knowledge obtained from the client", so MAIL needs another greeting."""
    talk = SecureDialogue(make_acceptor(folder), lmtp=lmtp)
    talk.hello("before.example")
    talk.say("STARTTLS")
    talk.shake()
    assert talk.codes("MAIL FROM:<a@example.org>") == ["503"]
    assert talk.engine.session.helo == ""
    assert talk.codes("LHLO after.example" if lmtp else "EHLO after.example", "MAIL FROM:<a@example.org>") == [
        "250",
        "250",
    ]


@pytest.mark.parametrize("behind", [b"X", b"EHLO evil.example\r\n", b"MAIL FROM:<evil@example.org>\r\n", b"\x16"])
def test_what_follows_in_clear_never_enters_the_session(folder: Path, behind: bytes) -> None:
    """C47, section 6: octets behind STARTTLS, in its segment or in the next one, are no commands under TLS nor before it."""
    together = SecureDialogue(make_acceptor(folder))
    together.hello()
    assert [line[:3] for line in together.say(b"STARTTLS\r\n" + behind)] == ["503", "421"]
    apart = SecureDialogue(make_acceptor(folder))
    apart.hello("before.example")
    apart.say("STARTTLS")
    apart.transport.far_protocol.data_received(behind + b"\r\n" * 20)
    assert apart.transport.closed
    for talk in (together, apart):
        assert talk.engine.session.transaction is None
        assert talk.engine.session.tls is None
        assert talk.engine.session.helo in ("before.example", "client.example.org")


def test_starttls_is_the_last_of_its_group(folder: Path) -> None:
    """C42, RFC 3207 section 4: what came before it in the group is answered first."""
    talk = SecureDialogue(make_acceptor(folder))
    talk.heard()
    assert talk.codes(EHLO, "NOOP", "STARTTLS") == ["250", "250", "220"]
    talk.shake()
    assert talk.codes(EHLO) == ["250"]


# -- RFC 8314


def test_port_465_begins_with_tls(folder: Path) -> None:
    """C36, section 3.3: the handshake begins at once, and the greeting is the first octet under it; STARTTLS is not offered."""
    talk = SecureDialogue(make_acceptor(folder, implicit=True))
    assert talk.transport.written == b""
    assert talk.shake()[0].startswith("220 ")
    assert "STARTTLS" not in keywords(talk.say(EHLO))
    talk.say("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>")
    assert talk.send()[0].startswith("250 ")
    assert b" with ESMTPS (TLSv1." in talk.intake.accepted[0].prefix


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("implicit", [False, True])
def test_both_versions_on_both_kinds_of_listener(folder: Path, implicit: bool, version: ssl.TLSVersion) -> None:
    """C103, RFC 8314 section 4.1: TLS 1.2 or later."""
    talk = SecureDialogue(make_acceptor(folder, implicit=implicit))
    if not implicit:
        talk.hello()
        talk.say("STARTTLS")
    context = client_context(verify=False)
    context.minimum_version = context.maximum_version = version
    talk.shake(context)
    assert talk.codes(EHLO) == ["250"]
    assert talk.engine.session.tls.protocol == version.name.replace("_", ".")


def test_mail_programs_get_the_certificate_of_the_name_that_they_know(folder: Path) -> None:
    """RFC 8314 section 5.4, RFC 6066 section 3: the name that a client asks for decides."""
    write(folder, "other.pem", Authority().issue("mail.example.org").both)
    acceptor = Acceptor(loaded(folder), Handshakes(9, 9), Clock(), implicit=True)
    ends = []
    for name in ("mail.example.org", "mx.example.net"):
        talk = SecureDialogue(acceptor)
        talk.shake(hostname=name)
        ends.append(talk.engine.session.tls.end_point)
    assert ends[0] != ends[1]
