"""Words of trace fields: what comes from outside is quoted so that it stays one value, or it is no value at all.

value         = token / quoted-string      ; RFC 2045 section 5.1
quoted-string = DQUOTE *( qtext / quoted-pair ) DQUOTE
pvalue        = value / [ [ local-part ] "@" ] domain-name      ; RFC 8601 section 2.2
"""

from __future__ import annotations

import re

__all__ = ["MAX_WORD", "comment", "keyword", "word"]

# Characters of one value: a mailbox has at most 254 octets (RFC 5321 section 4.5.3.1.3)
MAX_WORD = 320

_TOKEN = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+")
_ATOM = r"[0-9A-Za-z!#$%&'*+/=?^_`{|}~\-]+"
_ADDRESS = re.compile(rf"(?:{_ATOM}(?:\.{_ATOM})*)?@[0-9A-Za-z\-]+(?:\.[0-9A-Za-z\-]+)*")
# Keyword of RFC 5321 section 4.1.2, and the underscore that some properties have
_KEYWORD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_\-]*[A-Za-z0-9])?")
_SPECIAL = re.compile(r'["\\]')
_ASCII = re.compile(r"[ -~]*")
_IN_COMMENT = re.compile(r"[^ !#-'*-\[\]-~]")


def keyword(text: str) -> bool:
    """Whether this can be a method, a result, or the name of a property."""
    return len(text) <= MAX_WORD and _KEYWORD.fullmatch(text) is not None


def word(value: str, *, utf8: bool = False) -> str | None:
    """Return `value` as a token, an address or a quoted-string; None where it is too long or no field can hold it.

    With `utf8`, printable characters beyond ASCII can stand in quotes (RFC 6532 section 3.2).
    """
    if len(value) > MAX_WORD:
        return None
    if _TOKEN.fullmatch(value) or _ADDRESS.fullmatch(value):
        return value
    if not (_ASCII.fullmatch(value) or (utf8 and value.isprintable())):
        return None
    return '"' + _SPECIAL.sub(r"\\\g<0>", value) + '"'


def comment(text: str) -> str:
    """Return `text` as a comment, without whatever could end one."""
    return f"({_IN_COMMENT.sub('?', text[:MAX_WORD])})"
