"""Command lines of SMTP and LMTP: from a line without its CRLF to an event (RFC 5321 section 4.1).

The table `VERBS` says for each verb what kind of step it is (`upesi.protocol.smtp.states`) and how its argument is read. Arguments
are read strictly; the few liberties are named where they are taken. Whether a command may come now is not asked here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from upesi.mail.address import Address, AddressError, domain_from
from upesi.mail.envelope import Transmission
from upesi.mail.errors import RemoteProtocolError
from upesi.mail.reply import Reply
from upesi.protocol.smtp.events import (
    BdatCommand,
    Command,
    DataCommand,
    EtrnCommand,
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
    XclientCommand,
    XforwardCommand,
)
from upesi.protocol.smtp.forwarding import XCLIENT_ATTRIBUTES, XFORWARD_ATTRIBUTES, read_attributes
from upesi.protocol.smtp.limits import ServerLimits
from upesi.protocol.smtp.parameters import Parameters, mail_parameters, rcpt_parameters
from upesi.protocol.smtp.refusals import (
    BAD_CHUNK_SIZE,
    BAD_PARAMETER,
    NEEDS_SMTPUTF8,
    NO_ARGUMENT_ALLOWED,
    NOT_SMTP,
    SYNTAX,
    needs_argument,
    refuse,
)
from upesi.protocol.smtp.states import Kind

__all__ = [
    "VERBS",
    "read_bdat",
    "read_data",
    "read_etrn",
    "read_hello",
    "read_mail",
    "read_rcpt",
    "read_starttls",
    "read_unknown",
]

# A path as far as its closing bracket, which a quoted local part may hold too, then perhaps parameters behind one blank. The
# alternatives exclude each other by their first character, so matching is linear.
_PATH: Final = r'(<[^"<>\\ ]*(?:"(?:[^"\\]|\\.)*"[^"<>\\ ]*)*>)(?: (.+))?'
_FROM: Final = re.compile("FROM:" + _PATH, re.IGNORECASE).fullmatch
_TO: Final = re.compile("TO:" + _PATH, re.IGNORECASE).fullmatch
_BLANK_AFTER_COLON: Final = re.compile(r"(FROM:|TO:) (?=<)", re.IGNORECASE)
# Wider than Domain: hosts do call themselves my_pc or 192.0.2.1. Nothing in it can do harm in a Received field or a log.
_HELO_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.:\-]{0,253}[A-Za-z0-9_.])?")
_VERB: Final = re.compile(r"[A-Za-z][A-Za-z0-9\-]{0,39}")
# chunk-size = 1*DIGIT (RFC 3030 section 2); 19 digits are 10**19 octets
_BDAT: Final = re.compile(r"([0-9]{1,19})(?: (.*))?")

_AS_BEFORE: Final = Transmission()
_NO_PARAMETERS: Final[tuple[None, None, Parameters]] = (None, None, ())
_DATA: Final = DataCommand()
_RSET: Final = RsetCommand()
_NOOP: Final = NoopCommand()
_QUIT: Final = QuitCommand()
_STARTTLS: Final = StartTlsCommand()


def _bad_path(status: str, who: str, why: str) -> RemoteProtocolError:
    # an AddressError's text is written by us and names only the part that is wrong
    return RemoteProtocolError(why, Reply.make(501, status, f"Bad {who} address: {why}"))


def _malformed(argument: str, prefix: str, status: str, who: str) -> RemoteProtocolError:
    if argument[: len(prefix)].upper() != prefix:
        return RemoteProtocolError(f"no {prefix}", Reply.make(501, "5.5.4", f"Syntax: {prefix}<address>"))
    return _bad_path(status, who, "path must stand in angle brackets, right behind the colon")


def _address(path: str, utf8: bool, status: str, who: str) -> Address | None:
    try:
        return Address.parse_path(path, utf8=utf8)
    except AddressError as error:
        if not path.isascii():
            raise refuse(NEEDS_SMTPUTF8) from None
        raise _bad_path(status, who, str(error)) from None


def read_mail(argument: str, limits: ServerLimits) -> MailCommand:
    """Read the argument of MAIL: `"FROM:" Reverse-path [SP Mail-parameters]`."""
    if limits.blank_after_colon:
        argument = _BLANK_AFTER_COLON.sub(r"\1", argument, count=1)
    match = _FROM(argument)
    if match is None:
        raise _malformed(argument, "FROM:", "5.1.7", "sender")
    path, rest = match.groups()
    if rest is None:
        return MailCommand(_address(path, False, "5.1.7", "sender"), _AS_BEFORE)
    transmission, size, given, requests = mail_parameters(rest, limits)
    return MailCommand(_address(path, transmission.smtputf8, "5.1.7", "sender"), transmission, size, given, requests)


def read_rcpt(argument: str, limits: ServerLimits, utf8: bool) -> RcptCommand:
    """Read the argument of RCPT: `"TO:" ( "<Postmaster>" / Forward-path ) [SP Rcpt-parameters]`."""
    if limits.blank_after_colon:
        argument = _BLANK_AFTER_COLON.sub(r"\1", argument, count=1)
    match = _TO(argument)
    if match is None:
        raise _malformed(argument, "TO:", "5.1.3", "recipient")
    path, rest = match.groups()
    if not utf8 and not argument.isascii():
        raise refuse(NEEDS_SMTPUTF8)
    # RFC 5321 section 4.5.1: "postmaster" without a domain, in any case
    bare = len(path) == 12 and path.lower() == "<postmaster>"
    address = Address(path[1:-1], "") if bare else _address(path, utf8, "5.1.3", "recipient")
    if address is None:
        raise _bad_path("5.1.3", "recipient", "the null path receives no mail")
    if rest is None:
        return RcptCommand(address)
    original, notify, given = rcpt_parameters(rest, limits)
    return RcptCommand(address, original, notify, given)


def read_bdat(argument: str) -> tuple[BdatCommand, Reply | None]:
    """Read the argument of BDAT: `chunk-size [SP "LAST"]`.

    Where the size can be read and the rest cannot, the reply comes with it: its octets follow all the same. Where it cannot, nobody
    knows what is content and what is a command any more: raise 421.
    """
    match = _BDAT.fullmatch(argument)
    if match is None:
        raise refuse(BAD_CHUNK_SIZE)
    last = (match[2] or "").upper() == "LAST"
    return BdatCommand(int(match[1]), last), (None if last or match[2] is None else BAD_PARAMETER)


def read_unknown(verb: str, argument: str) -> UnknownCommand:
    """Return the event for a verb that is not in VERBS; raise for what is no verb at all."""
    if verb.upper() in _FOREIGN:
        raise refuse(NOT_SMTP)
    if not _VERB.fullmatch(verb):
        raise refuse(NOT_SMTP if verb.startswith("SSH-") else SYNTAX)
    return UnknownCommand(verb, argument)


# a browser tricked into talking to us, or a scanner: what follows would be run as commands (cross-protocol request forgery). PROXY is a
# proxy at the wrong listener, or somebody who would like to be one (PRX-01)
_FOREIGN: Final = frozenset(
    ("GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "PRI", "PROXY")
)


_BAD_NAME: Final = Reply.make(501, "5.5.2", "Syntax: a domain name or an address literal is needed")


def read_hello(verb: str, argument: str) -> HeloCommand:
    """Read the argument of HELO, EHLO or LHLO: `( Domain / address-literal )`."""
    if argument.startswith("["):
        try:
            domain_from(argument)
        except AddressError:
            raise refuse(_BAD_NAME) from None
    elif not _HELO_NAME.fullmatch(argument):
        raise refuse(_BAD_NAME)
    return HeloCommand(verb, argument)


def _nothing(argument: str) -> None:
    if argument:
        raise refuse(NO_ARGUMENT_ALLOWED)


def read_data(argument: str) -> DataCommand:
    """Read DATA."""
    _nothing(argument)
    return _DATA


def read_starttls(argument: str) -> StartTlsCommand:
    """Read STARTTLS."""
    _nothing(argument)
    return _STARTTLS


def _rset(argument: str) -> RsetCommand:
    _nothing(argument)
    return _RSET


def _quit(argument: str) -> QuitCommand:
    _nothing(argument)
    return _QUIT


def _noop(argument: str) -> NoopCommand:
    return _NOOP  # RFC 5321 section 4.1.1.9: a parameter string should be ignored


# RFC 6531 section 3.7.4.2: the one parameter of VRFY and EXPN
_SMTPUTF8: Final = re.compile(r" SMTPUTF8\Z", re.IGNORECASE)


def _vrfy(argument: str) -> VrfyCommand:
    if not argument:
        raise needs_argument()
    return VrfyCommand(_SMTPUTF8.sub("", argument))


def _expn(argument: str) -> ExpnCommand:
    if not argument:
        raise needs_argument()
    return ExpnCommand(_SMTPUTF8.sub("", argument))


_NODE: Final = re.compile(r"([@#]?)([!-~]+)")


def read_etrn(argument: str) -> EtrnCommand:
    """Read ETRN: `["@" / "#"] node-name` (RFC 1985 section 5.2)."""
    match = _NODE.fullmatch(argument)
    if match is None:
        raise needs_argument() if not argument else refuse(BAD_PARAMETER)
    option, name = match.groups()
    try:
        return EtrnCommand(option, name if option == "#" else domain_from(name))
    except AddressError:
        raise refuse(BAD_PARAMETER) from None


def _xclient(argument: str) -> XclientCommand:
    return XclientCommand(read_attributes(argument, XCLIENT_ATTRIBUTES))


def _xforward(argument: str) -> XforwardCommand:
    return XforwardCommand(read_attributes(argument, XFORWARD_ATTRIBUTES))


# None: read by the machine, because what it means depends on the session or the listener too
VERBS: Final[dict[str, tuple[Kind, Callable[[str], Command] | None]]] = {
    "HELO": (Kind.HELO, None),
    "EHLO": (Kind.HELO, None),
    "LHLO": (Kind.HELO, None),
    "MAIL": (Kind.MAIL, None),
    "RCPT": (Kind.RCPT, None),
    "DATA": (Kind.DATA, None),
    "BDAT": (Kind.BDAT, None),
    "STARTTLS": (Kind.STARTTLS, None),
    "AUTH": (Kind.AUTH, None),
    "RSET": (Kind.RSET, _rset),
    "NOOP": (Kind.NOOP, _noop),
    "QUIT": (Kind.QUIT, _quit),
    "VRFY": (Kind.VRFY, _vrfy),
    "EXPN": (Kind.EXPN, _expn),
    "HELP": (Kind.HELP, HelpCommand),
    "ETRN": (Kind.ETRN, None),
    "XCLIENT": (Kind.XCLIENT, _xclient),
    "XFORWARD": (Kind.XFORWARD, _xforward),
}
