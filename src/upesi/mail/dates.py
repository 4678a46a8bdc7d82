"""The date of a message as a moment (RFC 5322 section 3.3, with the obsolete forms of section 4.3 that mail still has).

    date-time = [day-name ","] day month year hour ":" minute [":" second] zone

Nothing is raised and nothing long is looked at: a year of 100,000 digits is no date (MSG-10).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from upesi.mail.parameters import without_comments

__all__ = ["moment_of"]

# a full one with its zone in words takes some 50 characters
_LONGEST = 200
_DATE = re.compile(
    r"\s*(?:[A-Za-z]{3,9}\s*,?)?\s*(\d{1,2})[\s-]+([A-Za-z]{3})[a-z]*[\s-]+(\d{2,4})\s+"
    r"(\d{1,2})\s*:\s*(\d{2})(?:\s*:\s*(\d{2}))?\s*([+-]\d{4}|[A-Za-z]{1,5})?\s*",
    re.ASCII,
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# RFC 5322 section 4.3; letters of the military and all others mean UTC, as nobody can know better
_DAY = 86_400
_ZONES = {"EDT": -4, "EST": -5, "CDT": -5, "CST": -6, "MDT": -6, "MST": -7, "PDT": -7, "PST": -8}


def moment_of(text: str) -> float | None:
    """Return the moment that a Date field names, in Unix seconds; None where it names none."""
    match = _DATE.fullmatch(without_comments(text)) if len(text) <= _LONGEST else None
    if match is None or match[2].lower() not in _MONTHS:
        return None
    year = int(match[3])
    # RFC 5322 section 4.3: two and three digits
    if len(match[3]) < 4:
        year += 2000 if year < 50 else 1900
    try:
        # a leap second is the last second of its minute
        moment = datetime(
            year, _MONTHS.index(match[2].lower()) + 1, int(match[1]), int(match[4]), int(match[5]), min(int(match[6] or 0), 59),
            tzinfo=UTC,
        )  # fmt: skip
        return moment.timestamp() - _offset(match[7] or "")
    except (ValueError, OverflowError):
        return None


def _offset(text: str) -> int:
    """Return the seconds that a zone is ahead of UTC; raise ValueError where it is a day or more."""
    if text[:1] in "+-" and text:
        seconds = 3600 * int(text[1:3]) + 60 * int(text[3:5])
        if seconds >= _DAY:
            raise ValueError("a zone is less than a day away")
        return -seconds if text[0] == "-" else seconds
    return 3600 * _ZONES.get(text.upper(), 0)
