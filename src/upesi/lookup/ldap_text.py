"""Names of users inside LDAP filters and distinguished names. Pure.

    RFC 4515 section 3: in an assertion value, `*`, `(`, `)`, `\\` and NUL are written as `\\` and two hexadecimal digits
    RFC 4514 section 2.4: in an attribute value, `"`, `+`, `,`, `;`, `<`, `>`, `\\`, `=` and NUL are escaped anywhere, `#` and
    blanks at its beginning, blanks at its end

Both allow any octet to be escaped, so everything but letters, digits and a few harmless characters is: what is not known to be safe in
every place of every server cannot be used to leave the value.
"""

from __future__ import annotations

import re

__all__ = ["filled"]

_PLACE = re.compile(r"\{(user|local_part|domain)\}")
_HARMLESS = re.compile(r"[A-Za-z0-9@._-]")


def filled(pattern: str, user: str) -> str | None:
    """Return a filter or distinguished name: `pattern` with `user`, or what is before or behind its last "@", in its places.

    None where the name lacks a part that the pattern needs: it is nobody's, and no name that a directory would take.
    """
    local_part, _, domain = user.rpartition("@") if "@" in user else (user, "", "")
    values = {"user": user, "local_part": local_part, "domain": domain}
    if not all(values[place] for place in _PLACE.findall(pattern)):
        return None
    # one pass: a name that holds "{domain}" is a name
    return _PLACE.sub(lambda place: _escaped(values[place[1]]), pattern)


def _escaped(value: str) -> str:
    """Return `value` with every octet of every other character as a backslash and two digits: both grammars read that alike."""
    return "".join(
        char if _HARMLESS.fullmatch(char) else "".join(f"\\{octet:02x}" for octet in char.encode()) for char in value
    )
