"""The parameters of MAIL and RCPT (RFC 5321 section 4.1.2): SIZE, BODY, SMTPUTF8, AUTH, RET, ENVID, NOTIFY, ORCPT, and `requests`.

    esmtp-param   = esmtp-keyword ["=" esmtp-value]
    esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
    esmtp-value   = 1*(%d33-60 / %d62-126)      ; RFC 6531 adds UTF8-non-ascii

One parser per keyword, in two tables. A parser gets the value and the limits, and returns what it means or raises ValueError, which
becomes 501; a keyword that is in no table becomes 555.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from upesi.mail.envelope import BodyType, Notify, ReturnContent, Transmission
from upesi.protocol.smtp.limits import ServerLimits
from upesi.protocol.smtp.refusals import BAD_PARAMETER, MESSAGE_TOO_LARGE, UNKNOWN_PARAMETER, refuse
from upesi.protocol.smtp.requests import REQUESTS, Requests, requests_in
from upesi.protocol.smtp.xtext import decode_xtext

__all__ = ["Parameters", "mail_parameters", "rcpt_parameters"]

Parameters = tuple[tuple[str, str | None], ...]
_Parser = Callable[[str | None, ServerLimits], object]

# more than there are keywords, so that only nonsense is longer
_MAX_PARAMETERS: Final = 16
_PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^\x00-\x20=\x7f]+))?")
_MAX_ENVID: Final = 100  # RFC 3461 section 4.4
_MAX_ORCPT: Final = 500  # RFC 3461 section 4.2
_ADDRESS_TYPE: Final = re.compile(r"[A-Za-z0-9-]{1,40}")
_EMBEDDED: Final = re.compile(r"\\x\{([0-9A-F]{2,6})\}")  # RFC 6533 section 3: EmbeddedUnicodeChar


def _required(value: str | None) -> str:
    if value is None:
        raise ValueError("a value is needed")
    return value


def _size(value: str | None, limits: ServerLimits) -> int:
    digits = _required(value)
    # size-value = 1*20DIGIT (RFC 1870 section 3); isdigit() would take other scripts' digits
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20):
        raise ValueError("not a size")
    size = int(digits)
    if size > limits.max_message_size:
        raise refuse(MESSAGE_TOO_LARGE)
    return size


def _body(value: str | None, limits: ServerLimits) -> BodyType:
    body = BodyType(_required(value).upper())
    if body is BodyType.BINARY and not limits.chunking:
        raise refuse(UNKNOWN_PARAMETER)
    return body


def _smtputf8(value: str | None, limits: ServerLimits) -> bool:
    if not limits.smtputf8:
        raise refuse(UNKNOWN_PARAMETER)
    if value is not None:
        raise ValueError("takes no value")
    return True


def _ret(value: str | None, limits: ServerLimits) -> ReturnContent:
    return ReturnContent(_required(value).upper())


def _envid(value: str | None, limits: ServerLimits) -> str:
    text = _required(value)
    if len(text) > _MAX_ENVID:
        raise ValueError("too long")
    return decode_xtext(text)


def _auth(value: str | None, limits: ServerLimits) -> None:
    # checked, and left among the parameters as given: whether this client is trusted is policy (RFC 4954 section 5)
    decode_xtext(_required(value))


def _notify(value: str | None, limits: ServerLimits) -> int:
    words = _required(value).upper().split(",")
    if words == ["NEVER"]:
        return int(Notify.NEVER)
    if len(set(words)) != len(words) or "NEVER" in words:
        raise ValueError("NEVER stands alone, the others once each")
    bits = 0
    for word in words:
        bits |= _NOTIFY[word]
    return bits


_NOTIFY: Final = {"SUCCESS": int(Notify.SUCCESS), "FAILURE": int(Notify.FAILURE), "DELAY": int(Notify.DELAY)}


def _orcpt(value: str | None, limits: ServerLimits) -> str:
    """Read `original-recipient-address = addr-type ";" xtext`; for addr-type utf-8 what RFC 6533 section 3 puts in its place."""
    kind, separator, address = _required(value).partition(";")
    if not (separator and address and _ADDRESS_TYPE.fullmatch(kind)) or len(address) > _MAX_ORCPT:
        raise ValueError("not an original recipient")
    if kind.lower() != "utf-8":
        return f"{kind};{decode_xtext(address)}"
    decoded = _EMBEDDED.sub(lambda match: chr(int(match[1], 16)), address)
    if not decoded.isprintable():  # surrogates, controls, direction overrides, line separators
        raise ValueError("not printable")
    return f"{kind};{decoded}"


_MAIL: Final[dict[str, tuple[str, _Parser]]] = {
    "SIZE": ("size", _size),
    "BODY": ("body", _body),
    "SMTPUTF8": ("smtputf8", _smtputf8),
    "RET": ("ret", _ret),
    "ENVID": ("envid", _envid),
    "AUTH": ("", _auth),
    **REQUESTS,
}
_RCPT: Final[dict[str, tuple[str, _Parser]]] = {"NOTIFY": ("notify", _notify), "ORCPT": ("original", _orcpt)}


def _read(
    text: str, table: Mapping[str, tuple[str, _Parser]], limits: ServerLimits
) -> tuple[dict[str, object], Parameters]:
    """Return what the parameters mean by field name, and all of them as given with the keyword in upper case."""
    given: dict[str, str | None] = {}
    fields: dict[str, object] = {}
    for word in text.split(" ", _MAX_PARAMETERS):
        match = _PARAMETER.fullmatch(word)
        if match is None:
            raise refuse(BAD_PARAMETER)
        keyword, value = match[1].upper(), match[2]
        if keyword in given:
            raise refuse(BAD_PARAMETER)
        given[keyword] = value
        if keyword not in table:
            raise refuse(UNKNOWN_PARAMETER)
        field, parse = table[keyword]
        try:
            meaning = parse(value, limits)
        except (ValueError, KeyError, OverflowError):
            raise refuse(BAD_PARAMETER) from None
        if field:
            fields[field] = meaning
    return fields, tuple(given.items())


def mail_parameters(text: str, limits: ServerLimits) -> tuple[Transmission, int | None, Parameters, Requests | None]:
    """Read the parameters of MAIL: what the next hop needs, the declared SIZE, all as given, and what the session must grant.

    Raise RemoteProtocolError.
    """
    fields, given = _read(text, _MAIL, limits)
    size = fields.pop("size", None)
    requests = requests_in(fields)
    return Transmission(**fields), size, given, requests  # type: ignore[arg-type,return-value]


def rcpt_parameters(text: str, limits: ServerLimits) -> tuple[str | None, int | None, Parameters]:
    """Read the parameters of RCPT: ORCPT, NOTIFY, all as given; raise RemoteProtocolError."""
    fields, given = _read(text, _RCPT, limits)
    return fields.get("original"), fields.get("notify"), given  # type: ignore[return-value]
