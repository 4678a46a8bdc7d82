"""The plugin `dkim_sign`, as a stranger would see it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from unit.mailauth.dkimkit import NOW, verified
from upesi.config.problems import ConfigError
from upesi.hooks.verdict import Verdict
from upesi.mail.timing import Timing
from upesi.mailauth.dkim import DkimOutcome
from upesi.mailauth.signing import SigningKey
from upesi.plugin import OwnMail
from upesi.plugins.dkim_sign.plugin import DkimSign
from upesi.testkit import FakeClock, Trial, message

ZONE: dict[str, str] = {}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Key files by selector: "r" RSA, "e" Ed25519."""
    folder = tmp_path_factory.mktemp("keys")
    made = {"r": generate_private_key(65537, 2048), "e": Ed25519PrivateKey.generate()}
    paths = {}
    for selector, secret in made.items():
        path = folder / f"{selector}.pem"
        path.touch(0o600)
        path.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        paths[selector] = str(path)
        for domain in ("example.com", "other.example"):
            ZONE[f"{selector}._domainkey.{domain}"] = SigningKey(domain, selector, secret).record
    return paths


async def sent(
    content: bytes,
    files: dict[str, str],
    *,
    ours: bool = True,
    timing: Timing | None = None,
    data: bool = True,
    **settings: object,
) -> tuple[Trial, Verdict | None]:
    keys = {"example.com": files, "other.example": {"e": files["e"]}} if files else {}
    trial = Trial.of(DkimSign, {"keys": keys, **settings}, clock=FakeClock(NOW))
    trial.session.relaying = ours
    await trial.mail()
    await trial.rcpt()
    trial.tx.timing = timing
    if data:
        await trial.data()
    return trial, await trial.message(content)


def outcomes(trial: Trial) -> tuple[DkimOutcome, ...]:
    """What a receiver finds in the message that is sent."""
    return verified(b"".join(trial.tx.edited.chunks()), ZONE, now=NOW + 60)


async def test_each_key_of_the_authors_domain_signs(files: dict[str, str]) -> None:
    """C69: RSA and Ed25519 together, each valid, over the message that is sent."""
    trial, verdict = await sent(message(), files)
    assert verdict is None
    assert [(each.result, each.domain, each.algorithm) for each in outcomes(trial)] == [
        ("pass", "example.com", "rsa-sha256"),
        ("pass", "example.com", "ed25519-sha256"),
    ]
    assert trial.tx.results["dkim_sign"][0] == "pass"


async def test_fields_that_plugins_added_are_signed(files: dict[str, str]) -> None:
    """What other plugins put on top is part of what is signed: nothing that is sent can be added to afterwards."""
    keys = {"example.com": {"e": files["e"]}}
    trial = Trial.of(DkimSign, {"keys": keys}, clock=FakeClock(NOW))
    trial.session.relaying = True
    await trial.mail()
    await trial.rcpt()
    await trial.data()
    trial.tx.add_header("Reply-To", "desk@example.com")
    await trial.message(message())
    assert [each.result for each in outcomes(trial)] == ["pass"]
    without = b"".join(trial.tx.edited.chunks()).replace(b"Reply-To: desk@example.com\r\n", b"")
    assert [each.result for each in verified(without, ZONE, now=NOW)] == ["fail"]


async def test_a_message_that_was_changed_inside_is_hashed_again(files: dict[str, str]) -> None:
    """The signature is of what will be sent, not of what came."""
    trial = Trial.of(DkimSign, {"keys": {"example.com": {"e": files["e"]}}}, clock=FakeClock(NOW))
    trial.session.relaying = True
    await trial.mail()
    await trial.rcpt()
    await trial.data()
    content = message("old text\n")
    start = content.index(b"old text")
    trial.tx.edits.replace(start, start + 3, b"new")
    await trial.message(content)
    assert b"new text" in b"".join(trial.tx.edited.chunks())
    assert [each.result for each in outcomes(trial)] == ["pass"]


async def test_a_large_message_that_was_changed_is_hashed_in_a_thread(files: dict[str, str]) -> None:
    """A body beyond what may be hashed at once gives the same signature."""
    trial = Trial.of(DkimSign, {"keys": {"example.com": {"e": files["e"]}}}, clock=FakeClock(NOW))
    trial.session.relaying = True
    await trial.mail()
    await trial.rcpt()
    content = message("a line of text\n" * 40_000)
    start = content.index(b"a line")
    trial.tx.edits.replace(start, start + 1, b"A")
    await trial.message(content)
    assert [each.result for each in outcomes(trial)] == ["pass"]


async def test_strangers_are_never_signed_for(files: dict[str, str]) -> None:
    """A stranger who writes our domain into From gets no signature of ours."""
    trial, _ = await sent(message(), files, ours=False)
    assert b"DKIM-Signature" not in b"".join(trial.tx.edited.chunks())
    assert "dkim_sign" not in trial.tx.results


async def test_everything_is_signed_where_that_is_asked_for(files: dict[str, str]) -> None:
    """`mail = "all"` is for servers that no stranger reaches."""
    trial, _ = await sent(message(), files, ours=False, mail="all")
    assert [each.result for each in outcomes(trial)] == ["pass", "pass"]


@pytest.mark.parametrize(
    ("author", "settings", "domain"),
    [
        ("a@example.com", {}, "example.com"),
        ("a@EXAMPLE.COM", {}, "example.com"),
        ("a@news.example.com", {}, "example.com"),
        ("a@news.example.com", {"subdomains": False}, None),
        ("a@other.example", {}, "other.example"),
        ("x@elsewhere.example, a@other.example", {}, "other.example"),
        ("a@notexample.com", {}, None),
        ("not an address", {}, None),
    ],
)
async def test_the_authors_domain_chooses_the_key(
    files: dict[str, str], author: str, settings: dict[str, object], domain: str | None
) -> None:
    """The domain of From, or the nearest above it, so that the signature is aligned; nobody else's key is used."""
    trial, _ = await sent(message(fields={"From": author}), files, **settings)
    assert {each.domain for each in outcomes(trial)} == ({domain} if domain else set())


@pytest.mark.parametrize(("knob", "code"), [("send", None), ("defer", 451), ("reject", 550)])
async def test_mail_without_a_key_follows_its_knob(files: dict[str, str], knob: str, code: int | None) -> None:
    """DKIM-05: mail that cannot be signed is sent without, deferred or refused as the configuration says."""
    trial, verdict = await sent(message(fields={"From": "a@nokey.example"}), files, no_key=knob)
    assert trial.tx.results["dkim_sign"][0] == "skip"
    assert (verdict.reply.code if verdict is not None and verdict.reply is not None else None) == code


async def test_signatures_end(files: dict[str, str]) -> None:
    """DKIM-06: x= is set, counted from when the message may go out; a message that is sent again and again is ours no more."""
    trial, _ = await sent(message(), files, lifetime="2d", timing=Timing(release=NOW + 86_400.0))
    content = b"".join(trial.tx.edited.chunks())
    assert f"t={NOW + 86_400}; x={NOW + 3 * 86_400};".encode() in content
    assert {each.result for each in verified(content, ZONE, now=NOW + 86_500)} == {"pass"}
    assert {each.reason for each in verified(content, ZONE, now=NOW + 4 * 86_400)} == {"signature has expired"}


async def test_signatures_need_not_end(files: dict[str, str]) -> None:
    """A lifetime of 0 makes no x=."""
    trial, _ = await sent(message(), files, lifetime="0s")
    assert b"x=" not in b"".join(trial.tx.added)


async def test_a_second_from_cannot_be_put_on_top(files: dict[str, str]) -> None:
    """C70, DKIM-03: From, To, Cc, Subject, Date, Message-ID, Reply-To and the MIME fields are oversigned."""
    trial, _ = await sent(message(), files)
    content = b"".join(trial.tx.edited.chunks())
    names = [
        "From",
        "To",
        "Cc",
        "Subject",
        "Date",
        "Message-ID",
        "Reply-To",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
    ]
    for name in names:
        assert {each.result for each in verified(f"{name}: x\r\n".encode() + content, ZONE, now=NOW)} == {"fail"}, name


async def test_trace_fields_are_not_signed(files: dict[str, str]) -> None:
    """RFC 6376 section 5.4: what honest relays add does not break a signature."""
    trial, _ = await sent(message(), files)
    content = b"Return-Path: <>\r\nReceived: from a by b; x\r\n" + b"".join(trial.tx.edited.chunks())
    assert {each.result for each in verified(content, ZONE, now=NOW)} == {"pass"}


async def test_one_click_unsubscribing_is_signed(files: dict[str, str]) -> None:
    """C101, RFC 8058 section 4: List-Unsubscribe and List-Unsubscribe-Post are covered."""
    fields = {"List-Unsubscribe": "<https://x.example/1>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    trial, _ = await sent(message(fields=fields), files)
    content = b"".join(trial.tx.edited.chunks())
    assert {each.result for each in verified(content, ZONE, now=NOW)} == {"pass"}
    changed = content.replace(b"x.example/1", b"y.example/1")
    assert {each.result for each in verified(changed, ZONE, now=NOW)} == {"fail"}


async def test_a_failure_never_sends_unsigned_mail(files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """DKIM-05: where signing fails the message is deferred, and nothing of a half made set of signatures is left."""

    def broken(self: SigningKey, digest: bytes) -> bytes:
        if self.slow:
            return b"x"
        raise RuntimeError("the key is gone")

    monkeypatch.setattr(SigningKey, "sign", broken)
    trial, verdict = await sent(message(), files)
    assert verdict is not None
    assert verdict.reply is not None
    assert verdict.reply.code == 451
    assert trial.tx.added == ()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("mode", "others may read or change it"),
        ("absent", "cannot be read"),
        ("text", "this is no private key in PEM"),
        ("short", "an RSA key of 1024 bits"),
        ("passphrase", "has a passphrase"),
    ],
)
def test_a_key_that_cannot_be_used_stops_the_start(
    files: dict[str, str], tmp_path: Path, change: str, text: str
) -> None:
    """DKIM-05: unreadable, readable by others, no key, too short, or with a passphrase: said with its file, before any mail is taken."""
    path = tmp_path / "key.pem"
    path.touch(0o600)
    path.write_bytes(Path(files["r"]).read_bytes())
    if change == "mode":
        path.chmod(0o644)
    elif change == "absent":
        path.unlink()
    elif change == "text":
        path.write_text("hello")
    elif change == "short":
        secret = generate_private_key(65537, 1024)
        path.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    else:
        secret = Ed25519PrivateKey.generate()
        path.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")))
    with pytest.raises(ConfigError) as caught:
        Trial.of(DkimSign, {"keys": {"example.com": {"s": str(path)}}})
    assert text in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "keys are missing"),
        ({"keys": {"example.com": {}}}, "names no selector"),
        ({"keys": {"example.com": {"s": "x"}}, "lifetime": "10s"}, "at least 1h"),
        ({"keys": {"example.com": {"s": "x"}}, "also": ["a:b"]}, "names of header fields"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, object], text: str) -> None:
    """Each mistake is named when the server starts."""
    with pytest.raises(ConfigError, match=text):
        Trial.of(DkimSign, settings)


def own_mail_of(files: dict[str, str], **settings: object) -> OwnMail:
    own_mail = OwnMail(lambda name, fields: None)
    keys = {"example.com": files}
    Trial.of(DkimSign, {"keys": keys, **settings}, clock=FakeClock(NOW), services={"own_mail": own_mail})
    return own_mail


NOTICE = b"From: <MAILER-DAEMON@mx.example.com>\r\nTo: <a@example.net>\r\nSubject: Undelivered\r\n\r\nIt was not.\r\n"


def test_what_the_server_writes_itself_is_signed_too(files: dict[str, str]) -> None:
    """DSN-03: a notice from the server's own name has a valid signature of each key of its domain, or of the one above."""
    signed = own_mail_of(files).finished(NOTICE)
    assert signed.endswith(NOTICE)
    found = verified(signed, ZONE, now=NOW + 60)
    assert [(each.result, each.domain) for each in found] == [("pass", "example.com")] * 2


@pytest.mark.parametrize(
    ("notice", "settings"),
    [
        (NOTICE, {"notices": False}),
        (NOTICE, {"subdomains": False}),
        (NOTICE.replace(b"mx.example.com", b"mx.test"), {}),
    ],
    ids=["switched off", "no subdomains", "no key"],
)
def test_notices_without_a_key_are_as_they_were(
    files: dict[str, str], notice: bytes, settings: dict[str, object]
) -> None:
    """A server whose name has no key sends its notices all the same."""
    assert own_mail_of(files, **settings).finished(notice) == notice


def test_a_plugin_that_fails_on_a_notice_leaves_it_as_it_is() -> None:
    """A notice without a signature is better than none; the operator hears of it."""
    events: list[tuple[str, dict[str, object]]] = []
    own_mail = OwnMail(lambda name, fields: events.append((name, fields)))

    def fails(message: bytes) -> bytes:
        raise OSError("the key is gone")

    own_mail.on_top(fails)
    own_mail.on_top(lambda message: b"X-Seen: yes\r\n")
    assert own_mail.finished(NOTICE) == b"X-Seen: yes\r\n" + NOTICE
    assert events == [("notice.unsigned", {"error": "OSError"})]
