"""What one method of authentication found, as Authentication-Results says it (RFC 8601 section 2.2).

Plugins leave these in `session.authentication` and `tx.authentication`; DMARC reads SPF's and DKIM's there, the field is written from them.
"""

from __future__ import annotations

import msgspec

__all__ = ["MethodResult"]


class MethodResult(msgspec.Struct, frozen=True):
    """`method` ("spf"), its `result` ("pass"), why, and what was looked at: ("smtp.mailfrom", "a@example.com").

    `reason` and the values of `properties` may come from outside, as they are: whoever writes them quotes them or leaves them out.
    """

    method: str
    result: str
    reason: str = ""
    properties: tuple[tuple[str, str], ...] = ()

    def said_of(self, property: str) -> str:
        """Return the value of a property ("header.d"), "" where it was not looked at."""
        for name, value in self.properties:
            if name == property:
                return value
        return ""
