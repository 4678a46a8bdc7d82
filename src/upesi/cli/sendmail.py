"""`upesi-sendmail`: the interface that local programs have had to mail since 1983, as a client of the local listener.

It may be linked as /usr/sbin/sendmail. It needs no rights and no spool: it submits by SMTP, so that plugins and limits see local mail too,
and nothing is acknowledged (exit code 0) before the server has. No option names a file or a program, so that an "address" such as
`-oQ/tmp@example` does nothing; programs put `--` before recipients that others chose, and then it is a recipient (ADR-12).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from upesi.cli.asked import add_options, parameters
from upesi.cli.exchange import Exchange, Refused, Unreachable
from upesi.cli.submission import completed, crlf, dot_stuffed, header_recipients, until_dot, without_bcc

__all__ = ["SYSTEM_CONFIG", "main", "run"]

# sysexits.h: what callers of sendmail know
EX_OK, EX_USAGE, EX_DATAERR, EX_NOUSER, EX_UNAVAILABLE, EX_IOERR, EX_TEMPFAIL = 0, 64, 65, 67, 69, 74, 75
# the server's own limit decides; this only keeps a program gone wild from filling the memory
_MAX_MESSAGE = 1_000_000_000
# where `upesi init --system` is told to put it
SYSTEM_CONFIG = "/etc/upesi/upesi.toml"
_FALLBACK = ("127.0.0.1", 2525)
# the server's own name for "no such mailbox" (RFC 5321 section 4.2.3)
_NO_MAILBOX = (550, 551, 553)


# what other sendmails do, and who does it here
_ELSEWHERE = {
    "d": "the server is started with `upesi serve`",
    "D": "the server is started with `upesi serve`",
    "v": "nothing is verified here; `upesi plugins test NAME --to ADDRESS` asks a plugin as a session would",
}
_OPTIONS_ELSEWHERE = {
    "-q": "-q: the server sends what is queued when it is due; `upesi queue retry` tries what you choose now",
    "-C": "-C: a configuration is named by the variable UPESI_CONFIG, a server by UPESI_SMTP=HOST:PORT",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"sendmail: {message}\n")
        sys.exit(EX_USAGE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        "sendmail",
        description="Send the message on standard input to the recipients.",
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("--help", action="help")
    parser.add_argument("-f", "-r", dest="sender", metavar="ADDRESS", help="the reverse-path; <> for none")
    parser.add_argument("-F", dest="name", default="", metavar="NAME", help="your full name, for a missing From")
    parser.add_argument("-i", action="store_true", help="a line with a single dot does not end the message (also -oi)")
    parser.add_argument("-t", action="store_true", help="take recipients from To, Cc and Bcc, too; Bcc is removed")
    parser.add_argument(
        "-b",
        dest="mode",
        default="m",
        choices=("m", "p", "s", "i", *_ELSEWHERE),
        metavar="{m,p,s,i}",
        help="m: send; p: show the queue; s: SMTP on stdin/stdout; i: nothing, for aliases are read by themselves",
    )
    parser.add_argument(
        "-o",
        dest="options",
        action="append",
        default=[],
        metavar="OPTION",
        help="-oi is obeyed, others mean nothing here",
    )
    add_options(parser)
    for flag, words in _OPTIONS_ELSEWHERE.items():
        parser.add_argument(flag, nargs="?", action=_Elsewhere, const=words, help=argparse.SUPPRESS)
    for flag in ("-B", "-O", "-h", "-L", "-p", "-X"):
        parser.add_argument(flag, dest=argparse.SUPPRESS, help=argparse.SUPPRESS)
    for flag in ("-v", "-n", "-m", "-U", "-G", "-e"):
        parser.add_argument(
            flag, dest=argparse.SUPPRESS, nargs="?" if flag == "-e" else 0, action=_Nothing, help=argparse.SUPPRESS
        )
    parser.add_argument("recipients", nargs="*", metavar="RECIPIENT")
    return parser


class _Nothing(argparse.Action):
    """An option of other sendmails that means nothing here."""

    def __call__(self, *arguments: object) -> None:
        """Do nothing."""


class _Elsewhere(argparse.Action):
    """An option that another program obeys here, or a variable."""

    def __call__(self, parser: argparse.ArgumentParser, *arguments: object) -> None:
        """Say which."""
        parser.error(str(self.const))


def run(arguments: Sequence[str], message: bytes | None = None) -> int:
    """Do what `arguments` say and return the exit code; the message is read from standard input where it is not given."""
    options = _parser().parse_args(arguments)
    if options.mode in _ELSEWHERE:
        sys.stderr.write(f"sendmail: -b{options.mode}: {_ELSEWHERE[options.mode]}\n")
        return EX_USAGE
    if options.mode == "i":
        # newaliases of those who keep them in a compiled file
        return EX_OK
    if options.mode == "p":
        return _queue()
    if options.mode == "s":
        from upesi.cli.bridge import bridge

        return _told(lambda: bridge(*_server()))
    keep_dots = options.i or "i" in options.options
    try:
        raw = _read() if message is None else message
        text = crlf(raw if keep_dots else until_dot(raw))
        recipients = [_qualified(address) for address in _recipients(options, text)]
        sender = "" if options.sender in ("", "<>") else _qualified(_checked(options.sender or _user()))
        for address in filter(None, (sender, *recipients)):
            _parsed(address)
        asked = parameters(options)
    except ValueError as error:
        sys.stderr.write(f"sendmail: {error}\n")
        return EX_DATAERR
    if not recipients:
        sys.stderr.write("sendmail: no recipients: name them, or use -t to take them from the message\n")
        return EX_USAGE
    if options.t:
        text = without_bcc(text)
    return _told(lambda: _submit(text, sender, options.name, recipients, asked))


def _recipients(options: argparse.Namespace, text: bytes) -> list[str]:
    named = [_checked(part.strip()) for argument in options.recipients for part in argument.split(",") if part.strip()]
    found = [_checked(address) for address in header_recipients(text)] if options.t else []
    return list(dict.fromkeys([*named, *found]))


def _checked(address: str) -> str:
    """Return `address` without angle brackets; raise ValueError for what could not stand in a command."""
    address = address.removeprefix("<").removesuffix(">")
    if not address or not address.isprintable() or any(mark in address for mark in "<>") or len(address) > 320:
        raise ValueError(f"not an address: {address[:60]!r}")
    return address


def _parsed(address: str) -> None:
    """Raise ValueError where `address` is none by the server's own rules: EX_DATAERR, which no later try can mend."""
    from upesi.mail.address import Address, AddressError

    try:
        Address.parse(address, utf8=True)
    except AddressError as error:
        raise ValueError(f"not an address: {address[:60]!r}: {error}") from None


def _submit(text: bytes, sender: str, name: str, recipients: list[str], asked: tuple[str, str]) -> int:
    from email.utils import formatdate

    machine = _machine()
    unique = f"{os.urandom(12).hex()}@{machine}"
    message = completed(text, sender=sender, full_name=name, date=formatdate(localtime=True), message_id=unique)
    with Exchange(*_server(), machine) as server:
        server.send(sender, recipients, dot_stuffed(message), len(message), asked)
    return EX_OK


def _told(work: object) -> int:
    assert callable(work)
    try:
        return int(work())
    except Unreachable as error:
        sys.stderr.write(f"sendmail: {error}; nothing was sent, try again later\n")
        return EX_TEMPFAIL
    except Refused as error:
        sys.stderr.write(f"sendmail: {error}; nothing was sent\n")
        if error.code < 500:
            return EX_TEMPFAIL
        return EX_NOUSER if error.code in _NO_MAILBOX and str(error).startswith("recipient ") else EX_UNAVAILABLE


def _read() -> bytes:
    data = sys.stdin.buffer.read(_MAX_MESSAGE + 1)
    if len(data) > _MAX_MESSAGE:
        raise ValueError("the message is larger than 1 GB")
    return data


def _qualified(address: str) -> str:
    return address if "@" in address else f"{address}@{_machine()}"


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"


def _machine() -> str:
    from upesi.config.defaults import machine_name

    return machine_name()


def _server() -> tuple[str, int]:
    """Return where to submit: UPESI_SMTP=HOST:PORT, else the first SMTP listener of the configuration, else 127.0.0.1:2525."""
    if said := os.environ.get("UPESI_SMTP", ""):
        host, colon, port = said.rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
            # never elsewhere: whoever named a server does not mean another
            raise Unreachable(f"UPESI_SMTP={said} is not HOST:PORT")
        return host.strip("[]"), int(port)
    named = os.environ.get("UPESI_CONFIG", "")
    if named and not Path(named).exists():
        raise Unreachable(f"UPESI_CONFIG={named} is not there")
    path = Path(named or SYSTEM_CONFIG)
    # a configuration that only the server's user may read is no reason not to send
    return _listener(path) if os.access(path, os.R_OK) else _FALLBACK


def _listener(path: Path) -> tuple[str, int]:
    from upesi.config.loading import ConfigError, load
    from upesi.config.settings import ListenerTls, Role

    in_clear = (ListenerTls.NONE, ListenerTls.STARTTLS)

    try:
        config = load(path)
    except ConfigError as error:
        raise Unreachable(str(error)) from None
    for listener in config.listener:
        # to a listener behind proxies, and to one that begins with TLS, we could not speak
        if listener.role is Role.MX and listener.port and not listener.proxy and listener.tls in in_clear:
            return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listener.address, listener.address), listener.port
    # another server may listen where nobody was told to: mail must not go there because this one takes none
    raise Unreachable(f'{path} has no SMTP listener: add one (role = "mx") or name a server in UPESI_SMTP=HOST:PORT')


def _queue() -> int:
    from upesi.cli.mailq import main as show

    show()
    return EX_OK


def main() -> None:
    """Run as a program."""
    try:
        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(EX_IOERR)


if __name__ == "__main__":
    main()
