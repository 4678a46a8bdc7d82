"""The public suite of RFC 7208 cases, all of them."""

from __future__ import annotations

import pytest

from compliance.spfsuite import SUITE, Case, read_suite
from upesi.mailauth.asking import answered_from
from upesi.mailauth.spf import SpfIdentity, check_host

CASES = read_suite()


def test_the_suite_is_whole() -> None:
    """RFC 7208: the suite has 203 cases (C62..C66 and SPF-01, SPF-02 are among them)."""
    if not CASES:
        pytest.skip(f"absent: the RFC 7208 suite (UPESI_CONFORMANCE), looked for at {SUITE.name}")
    assert len(CASES) == 203


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_suite_agrees(case: Case) -> None:
    """RFC 7208 sections 4 to 7: result and explanation are what the suite says (C62..C66)."""
    local, _, domain = case.mailfrom.rpartition("@")
    if not case.mailfrom:
        local, domain = "postmaster", case.helo
    identity = SpfIdentity(case.host, case.helo, local, domain)
    table = case.table()
    outcome = answered_from(check_host(identity), table)
    assert outcome.result.value in case.results, outcome
    if case.explanation is not None:
        # DEFAULT: the checker's own words, since the domain's cannot be used
        assert outcome.explanation == ("" if case.explanation == "DEFAULT" else case.explanation)
    assert len(table.asked) <= 1 + 10 * 11 + 12
