"""Authentication-Results: what we found, for whoever reads the message behind us (RFC 8601 section 2.2).

    authres-payload = [CFWS] authserv-id [ CFWS authres-version ] ( no-result / 1*resinfo ) [CFWS]
    resinfo         = [CFWS] ";" methodspec [ CFWS reasonspec ] [ CFWS 1*propspec ]

Values come from strangers: each is one word (`upesi.mailauth.words`), and what cannot be one is left out. Fields of others are read in
`upesi.mailauth.authres_reader`.
"""

from __future__ import annotations

from collections.abc import Sequence

from upesi.mailauth.results import MethodResult
from upesi.mailauth.words import MAX_WORD, keyword, word

__all__ = ["MAX_RESULTS", "authentication_results"]

# Results in one field: a message has one for each method, and a few for its signatures
MAX_RESULTS = 50
# and properties of one result
_MAX_PROPERTIES = 10


def authentication_results(authserv_id: str, results: Sequence[MethodResult], *, utf8: bool = False) -> str:
    """Return the value of the field; "none" where nothing was found (section 2.2, no-result).

    With `utf8` the message may have characters beyond ASCII in its header. Raises ValueError for an id that no field can hold.
    """
    name = word(authserv_id)
    if name is None:
        raise ValueError("an authserv-id is a word of printable ASCII")
    said = [text for text in (_resinfo(result, utf8) for result in results[:MAX_RESULTS]) if text]
    return "; ".join([name, *said]) if said else f"{name}; none"


def _resinfo(result: MethodResult, utf8: bool) -> str:
    if not (keyword(result.method) and keyword(result.result)):
        return ""
    parts = [f"{result.method}={result.result}"]
    # a reason that says nothing is no reason; a long one is cut, its end matters least
    if result.reason:
        reason = word(result.reason[:MAX_WORD], utf8=utf8)
        parts += [] if reason is None else [f"reason={reason}"]
    for name, value in result.properties[:_MAX_PROPERTIES]:
        kind, dot, item = name.partition(".")
        shown = word(value, utf8=utf8) if value else None
        if shown is not None and dot and keyword(kind) and keyword(item):
            parts.append(f"{name}={shown}")
    return " ".join(parts)
