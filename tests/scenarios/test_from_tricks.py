"""The header sections of `from_tricks.table` before DMARC: whatever a sender writes, nobody else's domain passes for him."""

from __future__ import annotations

from pathlib import Path

import pytest
from _pytest.mark import ParameterSet
from tests.scenarios.script import Line, Step, read_lines

from upesi.hooks.verdict import Verdict, VerdictKind
from upesi.mail.headers import Headers
from upesi.mailauth.from_domain import Author, AuthorFault, author_of
from upesi.mailauth.results import MethodResult
from upesi.plugins.dmarc.plugin import Dmarc
from upesi.testkit import FakeResolver, Trial

TABLE = Path(__file__).parent / "from_tricks.table"
RECORDS = {
    ("_dmarc.bank.example", "TXT"): ["v=DMARC1; p=reject"],
    ("_dmarc.xn--bcher-kva.example", "TXT"): ["v=DMARC1; p=reject"],
    ("_dmarc.attacker.example", "TXT"): ["v=DMARC1; p=reject"],
}
OWN = (
    MethodResult("spf", "pass", properties=(("smtp.mailfrom", "x@attacker.example"),)),
    MethodResult("dkim", "pass", properties=(("header.d", "attacker.example"),)),
)


def tricks() -> list[ParameterSet]:
    return [pytest.param(line, id=f"{line.line} {line.said[:50]}") for line in read_lines(TABLE)]


@pytest.mark.parametrize("line", tricks())
async def test_a_trick_with_the_author_ends_as_the_table_says(line: Line) -> None:
    """C78, MSG-03, RFC 9989 section 11.5: one From field that reads in one way is checked, all else is refused and never passes."""
    trial = Trial.of(Dmarc, dns=FakeResolver(RECORDS))
    await trial.mail("x@attacker.example")
    trial.tx.authentication.extend(OWN)
    verdict = await trial.message(Step("C>", line.said, line.line).octets + b"\r\n\r\nbody\r\n")
    result, evidence = trial.tx.results["dmarc"]
    wanted, _, what = line.replies[0].partition(" ")
    assert result == wanted, evidence
    fault = AuthorFault.__members__.get(what)
    assert evidence == fault.value if fault else what in evidence
    if result == "pass":
        assert verdict is None
        assert trial.tx.authentication[-1].said_of("header.from").endswith("attacker.example")
    else:
        assert isinstance(verdict, Verdict)
        assert verdict.kind is VerdictKind.REJECT


@pytest.mark.parametrize("line", tricks())
def test_a_trick_is_no_author_of_two_minds(line: Line) -> None:
    """MSG-03: where an author is found, the same octets name them whatever body stands behind the header."""
    section = Step("C>", line.said, line.line).octets + b"\r\n"
    found = [
        author_of(Headers(whole), whole)
        for whole in (section, section + b"\r\n", section + b"\r\nFrom: a@b.example\r\n")
    ]
    assert found[1] == found[2]
    # without its empty line a header section that ends in one is longer
    if b"\r\n\r\n" not in section:
        assert found[0] == found[1]
    assert all(isinstance(each, (Author, AuthorFault)) for each in found)


def test_the_table_is_large_and_has_no_line_twice() -> None:
    """Sixty tricks at the least."""
    said = [line.said for line in read_lines(TABLE)]
    assert len(set(said)) == len(said) >= 60
