"""The threat model claims no row that no test names."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import conformance  # noqa: E402

PAGE = (ROOT / "docs" / "threat-model.md").read_text()
FOUND = conformance.tests_by_row(ROOT / "tests")


def test_every_row_of_the_threat_model_has_a_test() -> None:
    """A claim of protection stands on at least one test that names the row."""
    rows = set(conformance.expand(PAGE))
    assert len(rows) > 60
    assert not {row for row in rows if row not in FOUND}
