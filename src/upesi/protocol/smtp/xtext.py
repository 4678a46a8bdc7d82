"""xtext, the encoding of ENVID, ORCPT and AUTH values (RFC 3461 section 4).

    xtext   = *( xchar / hexchar )
    xchar   = any ASCII CHAR between "!" (33) and "~" (126) inclusive, except for "+" and "="
    hexchar = "+" two upper-case hexadecimal digits

Decoded text must be printable ASCII: a value that decodes to CR LF would put lines into a delivery report.
"""

from __future__ import annotations

import re

__all__ = ["decode_xtext", "encode_unicode", "encode_xtext"]

_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEXCHAR = re.compile(r"\+([0-9A-F]{2})")
_NOT_XCHAR = re.compile(r"[^!-*,-<>-~]")
# RFC 6533 section 3: QCHAR
_NOT_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")


def decode_xtext(text: str) -> str:
    """Return what `text` stands for; raise ValueError if it is no xtext, or stands for anything but printable ASCII."""
    if not _XTEXT.fullmatch(text):
        raise ValueError("not xtext")
    if "+" not in text:
        return text
    decoded = _HEXCHAR.sub(lambda match: chr(int(match[1], 16)), text)
    if not (decoded.isascii() and decoded.isprintable()):
        raise ValueError("xtext stands for characters that are not printable")
    return decoded


def encode_xtext(text: str) -> str:
    """Write printable ASCII `text` as xtext; raise ValueError for anything else."""
    if not (text.isascii() and text.isprintable()):
        raise ValueError("only printable ASCII can be written as xtext")
    return _NOT_XCHAR.sub(lambda match: f"+{ord(match[0]):02X}", text)


def encode_unicode(text: str) -> str:
    """Write `text` as utf-8-addr-xtext: what is not QCHAR becomes \\x{HEX} (RFC 6533 section 3)."""
    return _NOT_QCHAR.sub(lambda match: f"\\x{{{ord(match[0]):02X}}}", text)
