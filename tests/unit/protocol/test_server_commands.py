"""Tables of command lines and what they become."""

from __future__ import annotations

import pytest
from tests.scenarios.acceptor import LIMITS, Acceptor, codes, in_transaction

from upesi.mail.address import Address
from upesi.mail.envelope import BodyType, Notify, ReturnContent, Transmission
from upesi.mail.reply import Reply
from upesi.protocol.smtp.events import (
    AuthCommand,
    Event,
    ExpnCommand,
    HeloCommand,
    HelpCommand,
    MailCommand,
    NoopCommand,
    QuitCommand,
    RcptCommand,
    RsetCommand,
    StartTlsCommand,
    UnknownCommand,
    VrfyCommand,
)
from upesi.protocol.smtp.limits import MAX_MAIL_LINE, MAX_RCPT_LINE
from upesi.protocol.smtp.server import ServerLimits
from upesi.protocol.smtp.states import State

PLAIN = Transmission()
A = Address("a", "b.example")


def after(line: bytes, limits: ServerLimits = LIMITS, mail: bytes = b"") -> Event | Reply:
    """Return what `line` becomes after EHLO, and after `mail` where given."""
    acceptor = Acceptor(limits)
    acceptor.feed(b"EHLO c\r\n", mail)
    acceptor.events.clear()
    acceptor.feed(line + b"\r\n")
    (event,) = acceptor.events
    return event


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b"HELO client", HeloCommand("HELO", "client")),
        (b"ehlo Client.Example", HeloCommand("EHLO", "Client.Example")),
        (b"EHLO [192.0.2.1]", HeloCommand("EHLO", "[192.0.2.1]")),
        (b"EHLO 192.0.2.1", HeloCommand("EHLO", "192.0.2.1")),
        (b"EHLO client ", HeloCommand("EHLO", "client")),
        (b"MAIL FROM:<>", MailCommand(None, PLAIN)),
        (b"MaIl FrOm:<a@B.example>", MailCommand(A, PLAIN)),
        (b"MAIL FROM:<@x,@y:a@b.example>", MailCommand(A, PLAIN)),
        (b'MAIL FROM:<"a> b"@b.example>', MailCommand(Address("a> b", "b.example"), PLAIN)),
        (b"MAIL FROM:<> SIZE=100000", MailCommand(None, PLAIN, 100000, (("SIZE", "100000"),))),
        (
            b"MAIL FROM:<> body=8bitmime",
            MailCommand(None, Transmission(BodyType.EIGHT_BIT), None, (("BODY", "8bitmime"),)),
        ),
        (b"MAIL FROM:<> SMTPUTF8", MailCommand(None, Transmission(smtputf8=True), None, (("SMTPUTF8", None),))),
        (
            b"MAIL FROM:<> RET=hdrs ENVID=a+2Bb",
            MailCommand(
                None, Transmission(ret=ReturnContent.HEADERS, envid="a+b"), None, (("RET", "hdrs"), ("ENVID", "a+2Bb"))
            ),
        ),
        (b"MAIL FROM:<> AUTH=<>", MailCommand(None, PLAIN, None, (("AUTH", "<>"),))),
        (b"RSET", RsetCommand()),
        (b"NOOP", NoopCommand()),
        (b"NOOP anything at all", NoopCommand()),
        (b"QUIT", QuitCommand()),
        (b"VRFY user", VrfyCommand("user")),
        (b"EXPN list", ExpnCommand("list")),
        (b"HELP", HelpCommand("")),
        (b"HELP " + b"x" * 400, HelpCommand("x" * 400)),
        (b"XCUSTOM a b", UnknownCommand("XCUSTOM", "a b")),
    ],
)
def test_command_becomes_its_event(line: bytes, event: Event) -> None:
    """C02, C03: the verbs of RFC 5321 in any case, with what belongs to them."""
    assert after(line) == event


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b"RCPT TO:<a@b.example>", RcptCommand(A)),
        (b"RCPT TO:<POSTmaster>", RcptCommand(Address("POSTmaster", ""))),
        (b"RCPT TO:<@r.example:a@b.example>", RcptCommand(A)),
        (b"RCPT TO:<a@b.example> NOTIFY=NEVER", RcptCommand(A, None, 0, (("NOTIFY", "NEVER"),))),
        (
            b"RCPT TO:<a@b.example> NOTIFY=success,DELAY ORCPT=rfc822;x+40y",
            RcptCommand(
                A,
                "rfc822;x@y",
                int(Notify.SUCCESS | Notify.DELAY),
                (("NOTIFY", "success,DELAY"), ("ORCPT", "rfc822;x+40y")),
            ),
        ),
        (
            b"RCPT TO:<a@b.example> ORCPT=utf-8;caf\\x{E9}@x",
            RcptCommand(A, "utf-8;café@x", None, (("ORCPT", "utf-8;caf\\x{E9}@x"),)),
        ),
    ],
)
def test_rcpt_becomes_its_event(line: bytes, event: Event) -> None:
    """C11, C27, C55: postmaster without domain, source routes dropped, RFC 3461 parameters decoded."""
    assert after(line, mail=b"MAIL FROM:<>\r\n") == event


@pytest.mark.parametrize(
    ("line", "code", "status"),
    [
        (b"MAIL FROM:<a@b.example", 501, "5.1.7"),
        (b"MAIL FROM:<a@b.example>SIZE=1", 501, "5.1.7"),
        (b"MAIL FROM:<a>", 501, "5.1.7"),
        (b"MAIL FROM:<postmaster>", 501, "5.1.7"),
        (b"MAIL", 501, "5.5.4"),
        (b"MAIL FROM:<> SIZE", 501, "5.5.4"),
        (b"MAIL FROM:<> SIZE=\xd9\xa1", 501, "5.5.4"),
        (b"MAIL FROM:<> SIZE=100001", 552, "5.3.4"),
        (b"MAIL FROM:<> SIZE=123456789012345678901", 501, "5.5.4"),
        (b"MAIL FROM:<> SMTPUTF8=yes", 501, "5.5.4"),
        (b"MAIL FROM:<> RET=ALL", 501, "5.5.4"),
        (b"MAIL FROM:<> RET=FULL RET=FULL", 501, "5.5.4"),
        (b"MAIL FROM:<> ENVID=" + b"x" * 101, 501, "5.5.4"),
        (b"MAIL FROM:<> ENVID=a+0D+0Ab", 501, "5.5.4"),
        (b"MAIL FROM:<> ENVID=a+4", 501, "5.5.4"),
        (b"MAIL FROM:<> AUTH=a+zz", 501, "5.5.4"),
        (b"MAIL FROM:<>  SIZE=1", 501, "5.5.4"),
        (b"MAIL FROM:<> SIZE=1=2", 501, "5.5.4"),
        (b"MAIL FROM:<> NOTIFY=NEVER", 555, "5.5.4"),
        (b"MAIL FROM:<> REQUIRETLS", 555, "5.5.4"),
        (b"EHLO a_b!", 501, "5.5.2"),
        (b"EHLO [192.0.2.256]", 501, "5.5.2"),
        (b"VRFY", 501, "5.5.4"),
        (b"EXPN", 501, "5.5.4"),
        (b"LHLO x", 500, "5.5.1"),
        (b"STARTTLS", 502, "5.5.1"),
        (b"AUTH PLAIN", 502, "5.5.1"),
        (b"BDAT x", 421, "4.5.4"),
        (b"BDAT 0x5", 421, "4.5.4"),
        (b"BDAT 1e3", 421, "4.5.4"),
        (b"BDAT", 421, "4.5.4"),
        (b"BDAT 99999999999999999999", 421, "4.5.4"),
        (b"BDAT 0 LAST LAST", 501, "5.5.4"),
    ],
)
def test_malformed_command_gets_its_reply(line: bytes, code: int, status: str) -> None:
    """C18, C53, FRM-17: 501 for the argument, 555 for an unknown parameter, 502 for what is not here, each with a status."""
    acceptor = in_transaction() if line.startswith(b"BDAT") else Acceptor()
    if not line.startswith(b"BDAT"):
        acceptor.feed(b"EHLO c\r\n")
    acceptor.events.clear()
    acceptor.feed(line + b"\r\n")
    (reply,) = acceptor.events
    assert isinstance(reply, Reply)
    assert (reply.code, reply.status) == (code, status)


@pytest.mark.parametrize(
    ("line", "code", "status"),
    [
        (b"RCPT TO:<>", 501, "5.1.3"),
        (b"RCPT TO:<a@b> NOTIFY=NEVER,DELAY", 501, "5.5.4"),
        (b"RCPT TO:<a@b> NOTIFY=DELAY,DELAY", 501, "5.5.4"),
        (b"RCPT TO:<a@b> NOTIFY=", 501, "5.5.4"),
        (b"RCPT TO:<a@b> NOTIFY=SOON", 501, "5.5.4"),
        (b"RCPT TO:<a@b> ORCPT=a", 501, "5.5.4"),
        (b"RCPT TO:<a@b> ORCPT=rfc822;", 501, "5.5.4"),
        (b"RCPT TO:<a@b> ORCPT=rfc822;a+0Ab", 501, "5.5.4"),
        (b"RCPT TO:<a@b> ORCPT=utf-8;\\x{202E}", 501, "5.5.4"),
        (b"RCPT TO:<a@b> ORCPT=utf-8;\\x{D800}", 501, "5.5.4"),
        (b"RCPT TO:<a@b> ORCPT=utf-8;\\x{FFFFFF}", 501, "5.5.4"),
        (b"RCPT TO:<a@b> ORCPT=rfc822;" + b"x" * 501, 501, "5.5.4"),
        (b"RCPT TO:<a@b> SIZE=1", 555, "5.5.4"),
        (b"RCPT TO:<caf\xc3\xa9@b>", 553, "5.6.7"),
        (b"RCPT TO:<a@b> ORCPT=utf-8;caf\xc3\xa9", 553, "5.6.7"),
        (b"RCPT TO:<u@local@other>", 501, "5.1.3"),
        (b'RCPT TO:<"u@other">', 501, "5.1.3"),
        (b"RCPT TO:<a@127.0.0.1>", 501, "5.1.3"),
        (b'RCPT TO:<"a@b>', 501, "5.1.3"),
    ],
)
def test_malformed_rcpt_gets_its_reply(line: bytes, code: int, status: str) -> None:
    """ADR-03, ADR-04, ADR-07, ADR-14, C55: what is no forward-path or no RFC 3461 parameter."""
    reply = after(line, mail=b"MAIL FROM:<>\r\n")
    assert isinstance(reply, Reply)
    assert (reply.code, reply.status) == (code, status)


@pytest.mark.parametrize("change", [{"smtputf8": False}, {"chunking": False}], ids=["no SMTPUTF8", "no CHUNKING"])
def test_what_is_not_announced_is_not_taken(change: dict[str, bool]) -> None:
    """C18: a parameter of an extension that was not announced is unknown."""
    limits = ServerLimits(max_message_size=1000, **change)
    parameter = b"SMTPUTF8" if "smtputf8" in change else b"BODY=BINARYMIME"
    reply = after(b"MAIL FROM:<> " + parameter, limits)
    assert isinstance(reply, Reply)
    assert reply.code == 555
    assert not {"SMTPUTF8", "CHUNKING", "BINARYMIME"} <= set(limits.ehlo_keywords())


def test_ehlo_announces_what_is_there() -> None:
    """C37: SIZE carries the limit; STARTTLS and AUTH are for others to announce."""
    assert LIMITS.ehlo_keywords() == (
        "PIPELINING",
        "SIZE 100000",
        "8BITMIME",
        "ENHANCEDSTATUSCODES",
        "SMTPUTF8",
        "CHUNKING",
        "BINARYMIME",
        "DSN",
    )
    assert ServerLimits(max_message_size=1, smtputf8=False, chunking=False).ehlo_keywords() == (
        "PIPELINING",
        "SIZE 1",
        "8BITMIME",
        "ENHANCEDSTATUSCODES",
    )


def test_blank_after_colon_is_a_setting() -> None:
    """CMD-10: `MAIL FROM: <a@b>` is refused unless the listener is told to be lenient."""
    lenient = ServerLimits(max_message_size=1000, blank_after_colon=True)
    assert after(b"MAIL FROM: <a@b.example>", lenient) == MailCommand(A, PLAIN)
    assert isinstance(after(b"MAIL FROM:  <a@b.example>", lenient), Reply)
    assert isinstance(after(b"MAIL FROM: <a@b.example>"), Reply)


def test_starttls_and_auth_are_open_where_the_limits_say_so() -> None:
    """The two seams: events for the session, and after STARTTLS nothing said in clear is believed (RFC 3207 section 4.2)."""
    limits = ServerLimits(max_message_size=1000, starttls=True, auth=("PLAIN",))
    assert after(b"AUTH plain AGEAYg==", limits) == AuthCommand("PLAIN", b"\0a\0b")
    assert isinstance(after(b"AUTH", limits), Reply)
    acceptor = Acceptor(limits)
    acceptor.feed(b"EHLO c\r\n")
    acceptor.events.clear()
    acceptor.feed(b"STARTTLS\r\nMAIL FROM:<a@b>\r\n")
    assert acceptor.events == [StartTlsCommand()]
    assert acceptor.connection.state is State.START
    assert acceptor.connection.buffered == 0


@pytest.mark.parametrize(
    ("prefix", "longest"), [(b"NOOP ", 512), (b"MAIL FROM:<> X=", MAX_MAIL_LINE), (b"rcpt TO:<a@b> X=", MAX_RCPT_LINE)]
)
def test_lines_may_be_as_long_as_the_rfcs_say_and_no_longer(prefix: bytes, longest: int) -> None:
    """CMD-02, CMD-03: 512 octets with CRLF, more for MAIL and RCPT by what each extension adds; else 500 and the rest is dropped."""
    for size, too_long in ((longest, False), (longest + 1, True), (20_000, True), (65_536, True)):
        acceptor = in_transaction() if prefix.startswith(b"rcpt") else Acceptor()
        if not prefix.startswith(b"rcpt"):
            acceptor.feed(b"EHLO c\r\n")
        answer = acceptor.feed(prefix + b"x" * (size - len(prefix) - 2) + b"\r\nNOOP\r\n")
        assert (b"Line too long" in answer) is too_long
        assert codes(answer)[-1] == 250


def test_full_set_of_mail_parameters_is_taken() -> None:
    """CMD-03: a MAIL line longer than 512 octets for its parameters' sake is accepted."""
    line = (
        b"MAIL FROM:<" + b"l" * 64 + b"@" + b".".join([b"d" * 60] * 3) + b"> SIZE=00000000000000000001 BODY=8BITMIME SMTPUTF8 AUTH="
        + b"x" * 400 + b" RET=FULL ENVID=" + b"y" * 100
    )  # fmt: skip
    assert len(line) > 700
    assert isinstance(after(line), MailCommand)


def test_line_without_end_ends_the_session() -> None:
    """CMD-04: after 64 kB without an end of line, 421; what was read so far is not kept."""
    acceptor = Acceptor()
    for _ in range(65):
        assert acceptor.connection.buffered <= 2048
        answer = acceptor.feed(b"x" * 1024)
    assert codes(answer) == [421]
    assert acceptor.connection.state is State.CLOSED


@pytest.mark.parametrize("hello", [b"\x16\x03\x01", b"\x80\x2e\x01", b"\x03\x00\x00\x13", b"\xff", b"\x00"])
def test_binary_noise_ends_the_session_at_its_first_octet(hello: bytes) -> None:
    """CMD-20: a TLS or SSLv2 hello or an RDP request is not answered line by line."""
    acceptor = Acceptor()
    assert codes(acceptor.feed(hello[:1])) == [421]
    assert acceptor.feed(hello[1:] + b"\r\n" * 100) == b""


@pytest.mark.parametrize("verb", [b"GET", b"post", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT"])
def test_http_verb_ends_the_session_at_once(verb: bytes) -> None:
    """CMD-19: nothing behind an HTTP request line is run."""
    acceptor = Acceptor()
    assert codes(acceptor.feed(verb + b" / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\nMAIL FROM:<>\r\n")) == [421]


def test_after_a_bare_lf_nothing_is_obeyed_until_a_true_end_of_line() -> None:
    """CMD-01: each part of a broken line is answered with 500, none is run."""
    acceptor = Acceptor()
    assert codes(acceptor.feed(b"EHLO a\nEHLO b\nEHLO c\r\nEHLO d\r\n")) == [500, 500, 500, 250]
    assert acceptor.events[-1] == HeloCommand("EHLO", "d")


def test_replies_in_pipelined_groups_keep_their_order() -> None:
    """C40, CMD-27: while a reply is outstanding everything behind it waits, whole."""
    acceptor = Acceptor()
    answer = acceptor.feed(
        b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<nobody@b>\r\nRCPT TO:<a@b>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n"
    )
    assert codes(answer) == [250, 250, 550, 250, 354, 250, 221]
    assert acceptor.messages == [b"x\r\n"]
