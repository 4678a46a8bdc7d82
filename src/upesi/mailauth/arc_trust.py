"""Whether somebody whom we trust saw a message pass DMARC before a list or a forwarder changed it (RFC 8617 section 7.2, C82).

A chain that passes proves who sealed, and nothing of what they say. So the operator names sealers, and only those are believed through
whose hands alone the message came since: with a stranger behind them, what it is now is the stranger's word.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from upesi.mailauth.arc import ArcOutcome
from upesi.mailauth.authres_reader import AuthresError, comparable, read_authres

__all__ = ["trusted_sealer"]

# Microsoft, who seals more mail than anybody, writes "dmarc=pass action=none header.from=...", which RFC 8601 does not have
_ACTION = re.compile(r"\baction=[A-Za-z.]+(?=[ \t;]|$)")


def trusted_sealer(outcome: ArcOutcome, author: str, trusted: Collection[str]) -> str:
    """Return the last sealer among `trusted` (lower case) who says that mail of `author` passed DMARC at its place, "" for none."""
    if outcome.result != "pass":
        return ""
    for sealer, results in reversed(list(zip(outcome.sealers, outcome.results, strict=True))):
        if sealer.lower() not in trusted:
            return ""
        if _passed(results, author):
            return sealer
    return ""


def _passed(results: str, author: str) -> bool:
    try:
        found = read_authres(_ACTION.sub("", results)).results
    except AuthresError:
        return False
    said = [each for each in found if each.method == "dmarc"]
    # of another author's mail it says nothing; and who says two things says none
    return len(said) == 1 and said[0].result == "pass" and comparable(said[0].said_of("header.from")) == author
