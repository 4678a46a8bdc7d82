"""Reads the public suite of RFC 7208 tests (the OpenSPF project's YAML: zones, then cases)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from unit.mailauth.answerkit import Table
from upesi.mail.answers import Status

__all__ = ["SUITE", "Case", "read_suite"]

SUITE = Path(
    os.environ.get("UPESI_CONFORMANCE", Path(__file__).parents[3] / "shared/conformance"), "spf/rfc7208-tests.yml"
)

Records = dict[tuple[str, str], list[str] | Status]


class Case(NamedTuple):
    """One case: who comes, what may be said of it (several results where the RFC leaves it open)."""

    name: str
    zone: Records
    host: str
    helo: str
    mailfrom: str
    results: frozenset[str]
    explanation: str | None

    def table(self) -> Table:
        """Return DNS as the case has it."""
        return Table(self.zone)


def read_suite() -> list[Case]:
    """Return all cases, none where the suite is not there."""
    if not SUITE.exists():
        return []
    cases = []
    for scenario in yaml.safe_load_all(SUITE.read_text("utf-8")):
        zone = _zone(scenario["zonedata"])
        cases += [_case(name, test, zone) for name, test in scenario["tests"].items()]
    return cases


def _case(name: str, test: Mapping[str, Any], zone: Records) -> Case:
    results = test["result"] if isinstance(test["result"], list) else [test["result"]]
    return Case(name, zone, test["host"], test["helo"], test["mailfrom"], frozenset(results), test.get("explanation"))


def _zone(data: Mapping[str, Sequence[Any]]) -> Records:
    """Return the zone. Records of type SPF are TXT ones too, unless the name has TXT records of its own (the suite's rule)."""
    zone: Records = {}
    for name, records in data.items():
        own = any(isinstance(record, dict) and "TXT" in record for record in records)
        for record in records:
            if record == "TIMEOUT":
                # for whatever the name has no records of
                zone[name, "*"] = Status.TIMEOUT
                continue
            ((kind, value),) = record.items()
            if kind == "SPF":
                kind = "SPF" if own else "TXT"
            if value == "NONE":
                continue
            entry = zone.setdefault((name, kind), [])
            assert isinstance(entry, list)
            entry.append(_text(kind, value))
    return zone


def _text(kind: str, value: Any) -> str:
    if kind == "MX":
        return f"{value[0]} {value[1]}"
    # character strings of one record are joined without a blank (section 3.3)
    return "".join(value) if isinstance(value, list) else str(value)
