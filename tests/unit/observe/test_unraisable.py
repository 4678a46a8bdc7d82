"""What Python could give to nobody."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from upesi.observe.setup import report_unraisable


class Remembered:
    """Events that are kept, as far as failures go."""

    def __init__(self) -> None:
        self.failures: list[tuple[str, BaseException, object]] = []

    def failure(self, name: str, error: BaseException, fields: object) -> None:
        self.failures.append((name, error, fields))


@pytest.fixture
def hook() -> Iterator[None]:
    """Whatever is done to the hook of this process is undone."""
    before = sys.unraisablehook
    yield
    sys.unraisablehook = before


class Broken:
    """Raises where nobody can catch it."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __del__(self) -> None:
        raise self.error


def test_errors_of_finalizers_are_events(hook: None) -> None:
    """Once, with what they are: nothing goes to standard error past the log."""
    events = Remembered()
    report_unraisable(events)  # type: ignore[arg-type]
    Broken(ValueError("x"))
    ((name, error, _),) = events.failures
    assert name == "loop.failed"
    assert isinstance(error, ValueError)


def test_names_that_cannot_be_decoded_are_no_events(hook: None, capsys: pytest.CaptureFixture[str]) -> None:
    """TLS-11, FLD-12: a client that asks for such a host fills no log."""
    events = Remembered()
    report_unraisable(events)  # type: ignore[arg-type]
    Broken(UnicodeDecodeError("ascii", b"\xff", 0, 1, "no"))
    assert events.failures == []
    assert capsys.readouterr().err == ""
