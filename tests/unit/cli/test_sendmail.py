"""sendmail: what local programs hand in is sent whole, once and to the right recipients, or the exit code says why not."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from hypothesis import given
from hypothesis import strategies as st

from upesi.cli.submission import completed, crlf, dot_stuffed, header_recipients, until_dot, without_bcc

PROGRAM = [sys.executable, "-m", "upesi.cli.sendmail"]


class Inbox:
    """A server that keeps what it gets; recipients called "no" and "later" are refused."""

    def __init__(self) -> None:
        self.got: list[Envelope] = []
        self.data_reply = "250 2.0.0 taken"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("no@"):
            return "550 5.1.1 nobody of this name"
        if address.startswith("later@"):
            return "451 4.2.1 try later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 fine"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.got.append(envelope)
        return self.data_reply


class OnAnyPort(Controller):
    """The library connects to its own port to see whether it is up: it has to be told which one the kernel gave."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, dict[str, str]]]:
    handler = Inbox()
    controller = OnAnyPort(handler, hostname="127.0.0.1", port=0, enable_SMTPUTF8=True)
    controller.start()
    yield handler, {**os.environ, "UPESI_SMTP": f"127.0.0.1:{controller.port}"}
    controller.stop()


def send(environment: dict[str, str], message: bytes, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [*PROGRAM, *arguments], input=message, env=environment, capture_output=True, timeout=30, check=False
    )
    return done.returncode, done.stderr.decode()


def test_a_message_goes_to_the_recipients_on_the_command_line(inbox: tuple[Inbox, dict[str, str]]) -> None:
    """Sender, recipients, CRLF line ends, and missing fields are added; the rest is kept octet for octet."""
    handler, environment = inbox
    message = b"Subject:  kept  as is\nX-Odd:\tyes\n\nline\n.dot\r\nend"
    assert send(
        environment,
        message,
        "-i",
        "-f",
        "me@a.example",
        "-F",
        'A "B"',
        "one@b.example,two@b.example",
        "three@c.example",
    ) == (0, "")
    (envelope,) = handler.got
    assert envelope.mail_from == "me@a.example"
    assert envelope.rcpt_tos == ["one@b.example", "two@b.example", "three@c.example"]
    content = envelope.content
    assert isinstance(content, bytes)
    head, _, body = content.partition(b"\r\n\r\n")
    assert body == b"line\r\n.dot\r\nend\r\n"
    assert head.startswith(b"Subject:  kept  as is\r\nX-Odd:\tyes\r\n")
    assert b'\r\nFrom: "A \\"B\\"" <me@a.example>\r\n' in head
    assert b"\r\nDate: " in head
    assert b"\r\nMessage-ID: <" in head


def test_recipients_come_from_the_header_and_bcc_stays_secret(inbox: tuple[Inbox, dict[str, str]]) -> None:
    """-t: To, Cc and Bcc, folded or not; nobody sees Bcc (RFC 5322 section 3.6.3)."""
    handler, environment = inbox
    message = b"From: me@a.example\nTo: X <one@b.example>,\n two@b.example\nBcc: hidden@c.example\nCc: one@b.example\n\nhi Bcc: body\n"
    assert send(environment, message, "-t", "-oi", "-f", "me@a.example")[0] == 0
    (envelope,) = handler.got
    assert envelope.rcpt_tos == ["one@b.example", "two@b.example", "hidden@c.example"]
    assert isinstance(envelope.content, bytes)
    assert b"hidden" not in envelope.content
    assert b"hi Bcc: body" in envelope.content


def test_a_dot_ends_the_message_unless_it_is_told_not_to(inbox: tuple[Inbox, dict[str, str]]) -> None:
    """Without -i a line with a single dot is the end, as at a terminal."""
    handler, environment = inbox
    for arguments in ((), ("-i",), ("-oi",)):
        assert send(environment, b"Subject: x\n\none\n.\ntwo\n", *arguments, "to@b.example")[0] == 0
    bodies = [bytes(envelope.content).partition(b"\r\n\r\n")[2] for envelope in handler.got]  # type: ignore[arg-type]
    assert bodies == [b"one\r\n", b"one\r\n.\r\ntwo\r\n", b"one\r\n.\r\ntwo\r\n"]


def test_the_null_reverse_path_and_the_user_as_sender(inbox: tuple[Inbox, dict[str, str]]) -> None:
    """-f '<>' is the null reverse-path; without -f it is whoever runs the program, at this machine."""
    handler, environment = inbox
    assert send(environment, b"\nx\n", "-f", "<>", "to@b.example")[0] == 0
    assert send(environment, b"\nx\n", "local")[0] == 0
    null, own = handler.got
    assert null.mail_from == "<>"
    assert "@" in str(own.mail_from)
    assert own.rcpt_tos[0].startswith("local@")


@pytest.mark.parametrize(
    ("recipients", "code", "said"),
    [
        (["no@b.example"], 67, "recipient no@b.example: 550 5.1.1 nobody of this name"),
        (["good@b.example", "later@b.example"], 75, "recipient later@b.example: 451"),
        (["no@b.example", "good@b.example", "later@b.example"], 75, "550 5.1.1"),
        ([], 64, "no recipients"),
        (["a b\r\nRCPT TO:<x@y.example>@b.example"], 65, "not an address"),
        (["a@b@c"], 65, "not an address: 'a@b@c'"),
        (["good@b.example", "a..b@b.example"], 65, "not an address: 'a..b@b.example'"),
    ],
)
def test_a_refusal_sends_nothing_and_says_why(
    inbox: tuple[Inbox, dict[str, str]], recipients: list[str], code: int, said: str
) -> None:
    """sysexits.h: EX_NOUSER, EX_TEMPFAIL, EX_USAGE, EX_DATAERR; a program that tries again sends nobody a second copy."""
    handler, environment = inbox
    result, errors = send(environment, b"Subject: x\n\nx\n", "--", *recipients)
    assert (result, handler.got) == (code, [])
    assert said in errors


def test_a_refused_message_is_a_failure(inbox: tuple[Inbox, dict[str, str]]) -> None:
    """Nothing is acknowledged before the server has: EX_UNAVAILABLE for 5xx, EX_TEMPFAIL for 4xx after the final dot."""
    handler, environment = inbox
    handler.data_reply = "554 5.6.0 not that"
    assert send(environment, b"\nx\n", "to@b.example")[0] == 69
    handler.data_reply = "452 4.3.1 full"
    assert send(environment, b"\nx\n", "to@b.example")[0] == 75


def test_no_server_is_a_reason_to_try_again() -> None:
    """EX_TEMPFAIL: cron and its like keep the message."""
    code, errors = send({**os.environ, "UPESI_SMTP": "127.0.0.1:1"}, b"\nx\n", "to@b.example")
    assert code == 75
    assert "nothing was sent, try again later" in errors


def test_an_address_that_looks_like_an_option_is_a_recipient_after_two_dashes(
    inbox: tuple[Inbox, dict[str, str]],
) -> None:
    """ADR-12: `-oQ/tmp@local` and `-froot@x` behind `--` are addresses; in front of it they name no file and do no harm."""
    handler, environment = inbox
    # a short name: a local part has at most 64 octets
    with tempfile.TemporaryDirectory() as folder:
        addresses = ["-froot@b.example", f"-oQ{folder}@b.example"]
        assert send(environment, b"\nx\n", "-f", "me@a.example", "--", *addresses)[0] == 0
        assert list(Path(folder).iterdir()) == []
    (envelope,) = handler.got
    assert envelope.mail_from == "me@a.example"
    assert envelope.rcpt_tos == addresses
    assert send(environment, b"\nx\n", "-Zfoo@b.example")[0] == 64


@pytest.mark.parametrize(
    "arguments", [["-oem", "-odi", "-v", "-B8BITMIME", "-Nnever", "-G", "-m"], ["-ti"], ["-bm", "-i"]]
)
def test_options_of_other_sendmails_are_taken(inbox: tuple[Inbox, dict[str, str]], arguments: list[str]) -> None:
    """What programs pass by habit is no error."""
    handler, environment = inbox
    assert send(environment, b"To: to@b.example\n\nx\n", *arguments, "to@b.example") == (0, "")
    assert handler.got[0].rcpt_tos == ["to@b.example"]


def test_smtp_on_standard_input_reaches_the_server(inbox: tuple[Inbox, dict[str, str]]) -> None:
    """-bs: octets are carried both ways until the server hangs up."""
    handler, environment = inbox
    dialogue = b"EHLO x\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\nx: y\r\n\r\nhi\r\n.\r\nQUIT\r\n"
    done = subprocess.run(
        [*PROGRAM, "-bs"], input=dialogue, env=environment, capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 0
    assert done.stdout.startswith(b"220 ")
    assert b"250 2.0.0 taken" in done.stdout
    assert len(handler.got) == 1


def test_the_listener_of_the_configuration_is_used(inbox: tuple[Inbox, dict[str, str]], tmp_path: Path) -> None:
    """Without UPESI_SMTP, the first listener of UPESI_CONFIG that a local program can talk to: not LMTP, submission, TLS or a proxy's."""
    handler, environment = inbox
    port = environment.pop("UPESI_SMTP").rpartition(":")[2]
    config = tmp_path / "upesi.toml"
    others = ('role = "lmtp"', 'role = "submission"', 'tls = "implicit"', 'tls = "required"', 'proxy = ["10.0.0.1"]')
    text = "".join(f"[[listener]]\n{keys}\nport = {number}\n" for number, keys in enumerate(others, 1))
    config.write_text(f'{text}[[listener]]\naddress = "0.0.0.0"\nport = {port}\n')
    assert send({**environment, "UPESI_CONFIG": str(config)}, b"\nx\n", "to@b.example")[0] == 0
    assert len(handler.got) == 1


@pytest.mark.parametrize(
    "server", ["foo", "127.0.0.1", ":25", "127.0.0.1:99999", "127.0.0.1:0", "127.0.0.1:", "[::1]:x"]
)
def test_what_names_no_server_sends_nowhere(server: str) -> None:
    """Whoever named a server does not mean the one that listens on 127.0.0.1:2525."""
    code, errors = send({**os.environ, "UPESI_SMTP": server}, b"\nx\n", "to@b.example")
    assert code == 75
    assert f"UPESI_SMTP={server} is not HOST:PORT; nothing was sent" in errors


def test_a_configuration_that_is_not_there_sends_nowhere(tmp_path: Path) -> None:
    """A misspelt path is no reason to send by another server."""
    environment = {key: value for key, value in os.environ.items() if key != "UPESI_SMTP"}
    code, errors = send({**environment, "UPESI_CONFIG": str(tmp_path / "x.toml")}, b"\nx\n", "to@b.example")
    assert code == 75
    assert "is not there; nothing was sent" in errors


def test_mailq_looks_where_sendmail_sends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without UPESI_CONFIG both take the machine's configuration, not the folder that somebody happens to be in."""
    from upesi.cli import mailq

    config = tmp_path / "upesi.toml"
    config.write_text("")
    asked: list[tuple[str | None, list[str]]] = []
    monkeypatch.setattr(mailq, "SYSTEM_CONFIG", str(config))
    monkeypatch.setattr(mailq, "upesi", lambda arguments: asked.append((os.environ.get("UPESI_CONFIG"), arguments)))
    monkeypatch.setattr(sys, "argv", ["mailq", "--json"])
    # set first, so that what the program sets goes with the test
    monkeypatch.setenv("UPESI_CONFIG", "")
    monkeypatch.delenv("UPESI_CONFIG")
    mailq.main()
    monkeypatch.setenv("UPESI_CONFIG", "/mine.toml")
    mailq.main()
    assert asked == [(str(config), ["queue", "list", "--json"]), ("/mine.toml", ["queue", "list", "--json"])]


def test_a_configuration_without_an_smtp_listener_sends_nowhere(tmp_path: Path) -> None:
    """What listens on 127.0.0.1:2525 all the same is not this server: nothing goes there."""
    config = tmp_path / "upesi.toml"
    config.write_text('[[listener]]\nrole = "lmtp"\nport = 24\n')
    environment = {key: value for key, value in os.environ.items() if key != "UPESI_SMTP"}
    code, errors = send({**environment, "UPESI_CONFIG": str(config)}, b"\nx\n", "to@b.example")
    assert code == 75
    assert f"{config} has no SMTP listener" in errors


def test_only_what_is_needed_is_imported() -> None:
    """A fast start: neither click nor asyncio, and email only to read a header."""
    code = (
        "import sys, upesi.cli.sendmail; print(sorted({'click', 'rich', 'asyncio', 'email', 'ssl'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, check=True)
    assert done.stdout == b"[]\n"


@given(st.binary(max_size=200))
def test_line_ends_are_always_crlf(data: bytes) -> None:
    """RFC 5321 section 2.3.8: neither a bare CR nor a bare LF is ever sent, and nothing else is changed."""
    text = crlf(data)
    assert text.replace(b"\r\n", b"").count(b"\r") == 0
    assert text.replace(b"\r\n", b"").count(b"\n") == 0
    assert text.translate(None, b"\r\n") == data.translate(None, b"\r\n")


@given(st.lists(st.sampled_from([b".", b"..", b"x", b".x", b"", b"a.b"]), max_size=8))
def test_no_message_ends_itself(lines: list[bytes]) -> None:
    """RFC 5321 section 4.5.2: stuffed data holds its end once, at its end, and unstuffs to the message."""
    message = b"".join(line + b"\r\n" for line in lines)
    wire = dot_stuffed(message)
    assert (b"\r\n" + wire).find(b"\r\n.\r\n") == len(wire) - 3
    *body, end, _ = wire.split(b"\r\n")
    assert end == b"."
    assert [line[1:] if line.startswith(b".") else line for line in body] == lines


def test_the_end_by_a_dot_is_found_with_either_line_end() -> None:
    """A dot within a line, or at the start of one that goes on, is text."""
    for message in (b"a\n.\nb", b"a\n.", b"a\n.\r\nb"):
        assert until_dot(message) == b"a\n"
    assert until_dot(b"a.\n.b\n") == b"a.\n.b\n"


@pytest.mark.parametrize(
    ("header", "recipients"),
    [
        (b'To: a@x.example, "B, C" <b@x.example>\r\n', ["a@x.example", "b@x.example"]),
        (b"To: list: a@x.example, b@x.example;\r\nCc: undisclosed-recipients:;\r\n", ["a@x.example", "b@x.example"]),
        (b"To: old@x.example\r\nResent-To: new@x.example\r\n", ["new@x.example"]),
        ("To: jürgen@x.example\r\n".encode(), ["jürgen@x.example"]),
        (b"Subject: To: nobody@x.example\r\n", []),
    ],
)
def test_recipients_of_a_header(header: bytes, recipients: list[str]) -> None:
    """Comments, groups, folding, Resent- fields (RFC 5322 section 3.6.6)."""
    assert header_recipients(header + b"\r\nTo: body@x.example\r\n") == recipients


def test_a_header_that_cannot_be_read_is_refused() -> None:
    """To send to some of those meant would look like success."""
    with pytest.raises(ValueError, match="cannot be read"):
        header_recipients(b"To: good@x.example, bad <\r\n\r\n")


def test_a_message_without_a_header_gets_one() -> None:
    """`echo hello | sendmail you` is a message; an mbox line in front of one is not part of it."""
    args = {"sender": "a@x.example", "full_name": "", "date": "D", "message_id": "i@x"}
    expected = b"From: a@x.example\r\nDate: D\r\nMessage-ID: <i@x>\r\n\r\nhello\r\n"
    assert completed(b"hello\r\n", **args) == expected
    assert (
        completed(b"From me Mon Jan 1\r\nhello\r\n", **args)
        == b"From: a@x.example\r\nDate: D\r\nMessage-ID: <i@x>\r\n\r\nhello\r\n"
    )
    full = b"From: f\r\nDate: d\r\nMESSAGE-ID: m\r\n\r\nbody\r\n"
    assert completed(full, **args) == full
    assert b"\r\nFrom: x@y.example\r\n" not in completed(
        b"A: b\r\n\r\n", sender="a@b.example", full_name="x\r\nFrom: x@y.example", date="D", message_id="i"
    )


def test_bcc_goes_with_its_continuation_lines_and_nothing_else_does() -> None:
    """Fields are cut by their octets."""
    message = b"To: a\r\nbCC: x,\r\n y,\r\n\tz\r\nX: 1\r\nResent-Bcc: q\r\n\r\nBcc: body\r\n"
    assert without_bcc(message) == b"To: a\r\nX: 1\r\n\r\nBcc: body\r\n"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("-q", "upesi queue retry"),
        ("-q30m", "upesi queue retry"),
        ("-bd", "upesi serve"),
        ("-bv", "upesi plugins test"),
        ("-C/etc/mail/sendmail.cf", "UPESI_CONFIG"),
    ],
)
def test_what_another_program_does_here_is_named(option: str, said: str) -> None:
    ended = subprocess.run([*PROGRAM, option, "you@localhost"], input=b"", capture_output=True, timeout=60)
    assert ended.returncode == 64
    assert said in ended.stderr.decode()


def test_there_are_no_aliases_to_compile() -> None:
    """Installers call `newaliases`, or this, and stop where it fails."""
    assert subprocess.run([*PROGRAM, "-bi"], input=b"", capture_output=True, timeout=60).returncode == 0
