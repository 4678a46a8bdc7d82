"""Enhanced mail system status codes (RFC 3463): class.subject.detail."""

from __future__ import annotations

import re

import msgspec

__all__ = ["EnhancedStatus"]

# RFC 3463 section 2: status-code = class "." subject "." detail, each of at most three digits
_STATUS = re.compile(r"([245])\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})")


class EnhancedStatus(msgspec.Struct, frozen=True, gc=False, order=True):
    """One enhanced status. `klass` is 2, 4 or 5; subject and detail are 0 to 999."""

    klass: int
    subject: int
    detail: int

    @classmethod
    def parse(cls, text: str) -> EnhancedStatus:
        """Read `text` as exactly one status; raise ValueError for anything else."""
        match = _STATUS.fullmatch(text)
        if match is None:
            raise ValueError(f"not an enhanced status: {text!r}")
        return cls(int(match[1]), int(match[2]), int(match[3]))

    def __str__(self) -> str:
        return f"{self.klass}.{self.subject}.{self.detail}"
