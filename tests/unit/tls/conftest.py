"""The fakes of the session's tests serve here too; one authority signs for all tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

for folder in ("session", "tls"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))

from tlskit import Authority, Issued, write  # noqa: E402


@pytest.fixture(scope="session")
def authority() -> Authority:
    """Who signs for everybody."""
    return Authority()


@pytest.fixture(scope="session")
def issued(authority: Authority) -> Issued:
    """A certificate for mx.example.net."""
    return authority.issue("mx.example.net")


@pytest.fixture
def shelf(tmp_path: Path, issued: Issued) -> Path:
    """A folder with that one certificate."""
    write(tmp_path / "certificates", "mx.pem", issued.both)
    return tmp_path / "certificates"


@pytest.fixture
def trusted(tmp_path: Path, authority: Authority) -> Path:
    """The file of the authority."""
    return write(tmp_path, "authority.crt", authority.pem)
