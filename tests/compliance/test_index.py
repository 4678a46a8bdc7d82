"""The list of requirements and their tests: whole, current, and without slips of the pen."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import conformance

ROWS, WAITING, REQUIRED = conformance.requirements()
FOUND = conformance.tests_by_row(conformance.ROOT / "tests")


@pytest.mark.parametrize("row", REQUIRED)
def test_every_required_row_has_a_test(row: str) -> None:
    """Each row that must be held is named by a test, or by what it waits for; never by both."""
    assert (row in FOUND) != (row in WAITING)


def test_every_row_has_its_text() -> None:
    """What a test names in the families that we list is a row of the list: a slip in a docstring would hold nothing."""
    families = {row.rstrip("0123456789") for row in REQUIRED}
    assert [row for row in FOUND if row.rstrip("0123456789") in families and row not in ROWS] == []
    assert [row for row in (*REQUIRED, *WAITING) if row not in ROWS] == []


def test_the_page_is_current() -> None:
    """docs/conformance.md says what the tests say; `scripts/conformance.py` writes it anew."""
    assert conformance.PAGE.read_text() == conformance.page(), "run .venv/bin/python scripts/conformance.py"


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("FRM-01", ["FRM-01"]),
        ("FRM-01..03, C9", ["FRM-01", "FRM-02", "FRM-03"]),
        ("C21, C104 (RFC 5321)", ["C21", "C104"]),
        ("ADR-01..ADR-02.", ["ADR-01", "ADR-02"]),
        ("C01..C03", ["C01", "C02", "C03"]),
        ("\\xC30 ABC12 FRM-1 C1234", []),
    ],
)
def test_rows_are_read(text: str, rows: list[str]) -> None:
    """Single rows and ranges are found in running text, and nothing else is."""
    assert list(conformance.expand(text)) == rows
