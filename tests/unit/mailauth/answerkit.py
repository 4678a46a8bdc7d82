"""DNS as a table, for the checks of `upesi.mailauth`: {("example.com", "TXT"): ["v=spf1 -all"], ("slow.example", "A"): Status.TIMEOUT}."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from upesi.mail.answers import Answer, MxRecord, Status
from upesi.mailauth.asking import Question

__all__ = ["Table", "Zone"]

Zone = Mapping[tuple[str, str], Sequence[str] | Status]

_LONGEST_CHAIN = 10


class Table:
    """Answers from a zone, whatever the case of names; "CNAME" leads on. `asked` lists the questions."""

    def __init__(self, zone: Zone) -> None:
        self._zone = {(name.lower().rstrip("."), kind): records for (name, kind), records in zone.items()}
        self._names = {name for name, _ in self._zone}
        self.asked: list[tuple[str, str]] = []

    def __call__(self, question: Question) -> Answer:
        """Answer one question."""
        self.asked.append((question.name, question.kind))
        name = question.name.replace("\\\\", "\\").lower().rstrip(".")
        for _ in range(_LONGEST_CHAIN):
            found = self._zone.get((name, question.kind), self._zone.get((name, "*")))
            if isinstance(found, Status):
                return Answer(found)
            if found:
                return _answer(question.kind, found)
            alias = self._zone.get((name, "CNAME"))
            if alias is None or isinstance(alias, Status):
                return Answer(Status.NODATA if self._exists(name) else Status.NXDOMAIN)
            name = alias[0].lower().rstrip(".")
        return Answer(Status.SERVFAIL)

    def _exists(self, name: str) -> bool:
        return any(known == name or known.endswith(f".{name}") for known in self._names)


def _answer(kind: str, records: Sequence[str]) -> Answer:
    if kind != "MX":
        return Answer(Status.OK, texts=tuple(records), ttl=300)
    pairs = [record.partition(" ")[::2] for record in records]
    return Answer(Status.OK, mx=tuple(MxRecord(int(one), two.rstrip(".").lower()) for one, two in pairs), ttl=300)
