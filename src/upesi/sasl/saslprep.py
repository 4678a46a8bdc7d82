"""SASLprep (RFC 4013): the one form in which names and passwords are compared.

Two keyboards that type the same password in different code points must both be let in, and characters that cannot be seen must not
make two accounts of one name. What stores a password, and what compares one, calls this first.
"""

from __future__ import annotations

import stringprep
import unicodedata

__all__ = ["PrepError", "saslprep"]


class PrepError(ValueError):
    """A text that no name or password may be; says why without showing it."""


# RFC 4013 section 2.3
_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    # section 2.5: a stored string must not hold unassigned code points. Queries might, but no account of ours can match one
    stringprep.in_table_a1,
)


def saslprep(text: str) -> str:
    """Return `text` prepared; raise PrepError for what is prohibited, and for what is or becomes empty."""
    if text.isascii():
        # nearly all names and passwords: nothing to map, nothing to normalise
        prepared = text
        if not text.isprintable():
            raise PrepError("a control character")
    else:
        prepared = _prepared(text)
    if not prepared:
        raise PrepError("empty")
    return prepared


def _prepared(text: str) -> str:
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    if any(prohibited(char) for char in prepared for prohibited in _PROHIBITED):
        raise PrepError("a prohibited character")
    _check_direction(prepared)
    return prepared


def _check_direction(text: str) -> None:
    """RFC 3454 section 6: text from right to left holds none from left to right, and begins and ends as such."""
    if not any(map(stringprep.in_table_d1, text)):
        return
    ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    if not ends or any(map(stringprep.in_table_d2, text)):
        raise PrepError("mixed directions")
