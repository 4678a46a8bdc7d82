"""The arguments of XCLIENT and XFORWARD, Postfix's extensions for those who stand in front of a server.

    xclient-command  = "XCLIENT" 1*( SP attribute-name "=" attribute-value )      ; XFORWARD alike
    attribute-value  = xtext / "[UNAVAILABLE]" / "[TEMPUNAVAIL]"

Values are checked as strictly as if the client itself had said them: they go into Received fields and events. Who may use the commands
is not asked here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from types import MappingProxyType

from upesi.mail.address import AddressError, domain_from
from upesi.protocol.smtp.refusals import BAD_PARAMETER, UNKNOWN_ATTRIBUTE, needs_argument, refuse
from upesi.protocol.smtp.xtext import decode_xtext

__all__ = ["XCLIENT_ATTRIBUTES", "XFORWARD_ATTRIBUTES", "Attributes", "read_attributes"]

# names in upper case; None: the sender of the command does not know it, for now or for good
Attributes = dict[str, str | None]

_UNKNOWN = frozenset(("[UNAVAILABLE]", "[TEMPUNAVAIL]"))
# Postfix's own bound; the longest honest values are host names
_MAX_VALUE = 255
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.\-]{0,253}[A-Za-z0-9_])?\.?")
_HELO = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.:\-]{0,253}[A-Za-z0-9_.])?")
_PORT = re.compile(r"[0-9]{1,5}")
_WORD = re.compile(r"[!-~]{1,255}")


def _host(text: str) -> str:
    return _matched(_NAME, text).rstrip(".").lower()


def _address(text: str) -> str:
    """Read an address, IPv6 with the prefix "IPv6:" as Postfix writes it or without; in its usual spelling, IPv4-mapped ones unmapped."""
    bare = text[5:] if text[:5].upper() == "IPV6:" else text
    if "%" in bare:
        raise ValueError("an address with a scope is nobody's but its own machine's")
    found = ip_address(bare)
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


def _port(text: str) -> str:
    if int(_matched(_PORT, text)) > 65535:
        raise ValueError("no such port")
    return str(int(text))


def _protocol(text: str) -> str:
    if text.upper() not in ("SMTP", "ESMTP", "LMTP"):
        raise ValueError("no such protocol")
    return text.upper()


def _helo(text: str) -> str:
    if text.startswith("["):
        try:
            domain_from(text)
        except AddressError as error:
            raise ValueError(str(error)) from None
        return text
    return _matched(_HELO, text)


def _source(text: str) -> str:
    if text.upper() not in ("LOCAL", "REMOTE"):
        raise ValueError("no such source")
    return text.upper()


def _word(text: str) -> str:
    return _matched(_WORD, text)


def _matched(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError("malformed value")
    return text


_Readers = MappingProxyType[str, Callable[[str], str]]

XCLIENT_ATTRIBUTES: _Readers = MappingProxyType(
    {
        "NAME": _host,
        "ADDR": _address,
        "PORT": _port,
        "PROTO": _protocol,
        "HELO": _helo,
        "LOGIN": _word,
        "DESTADDR": _address,
        "DESTPORT": _port,
    }
)
XFORWARD_ATTRIBUTES: _Readers = MappingProxyType(
    {
        "NAME": _host,
        "ADDR": _address,
        "PORT": _port,
        "PROTO": _protocol,
        "HELO": _helo,
        "IDENT": _word,
        "SOURCE": _source,
    }
)


def read_attributes(argument: str, known: _Readers) -> Attributes:
    """Read `name=value` pairs, each of a `known` name and given once; raise RemoteProtocolError."""
    if not argument:
        raise needs_argument()
    found: Attributes = {}
    for pair in argument.split(" "):
        name, equals, value = pair.partition("=")
        name = name.upper()
        if not equals or name in found:
            raise refuse(BAD_PARAMETER)
        if name not in known:
            raise refuse(UNKNOWN_ATTRIBUTE)
        try:
            found[name] = _value(value, known[name])
        except ValueError:
            raise refuse(BAD_PARAMETER) from None
    return found


def _value(text: str, read: Callable[[str], str]) -> str | None:
    decoded = decode_xtext(text)
    if decoded.upper() in _UNKNOWN:
        return None
    if len(decoded) > _MAX_VALUE:
        raise ValueError("value too long")
    return read(decoded)
