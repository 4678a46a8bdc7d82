"""Settings for all tests: hypothesis profiles, the long crash runs left out unless asked for, and what was absent said aloud."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The integration tests start Postfix as `bench/` does; `pytest` alone, unlike `python -m pytest`, does not look into this folder
sys.path.insert(0, str(Path(__file__).parents[1]))

# Shared machines stall now and then: a deadline per example would fail tests for their neighbours' sake
settings.register_profile("default", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("default"), max_examples=50, derandomize=True)
settings.register_profile("thorough", parent=settings.get_profile("default"), max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))

_SOURCES = Path(__file__).parents[1] / "src"

# What a skip must begin with if it is for want of a real component
ABSENT = "absent: "


def pytest_configure(config: pytest.Config) -> None:
    """Test what is there: a compiled module that is older than its source would hide every change."""
    old = [
        path
        for path in _SOURCES.rglob("*.so")
        if path.parent != _SOURCES and _source(path).stat().st_mtime > path.stat().st_mtime
    ]
    if old:
        pytest.exit(
            f"{_source(old[0])} is newer than what was compiled of it: `make setup`, or `make pure`", returncode=2
        )


def _source(compiled: Path) -> Path:
    return compiled.with_name(f"{compiled.name.partition('.')[0]}.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests marked `crash` unless a -m expression was given (`make test-crash`)."""
    if config.option.markexpr:
        return
    long = [item for item in items if item.get_closest_marker("crash")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in set(long)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the real components that were absent, so that a green run cannot be mistaken for a whole one."""
    counts: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _, found, what = reason.partition(ABSENT)
        if found:
            counts[what] = counts.get(what, 0) + 1
    for what, count in sorted(counts.items()):
        terminalreporter.write_line(f"ABSENT: {what}: {count} tests did not run", yellow=True, bold=True)
    compiled = len(list(_SOURCES.rglob("*.so")))
    terminalreporter.write_line(
        f"modules: {compiled - 1} compiled, the others plain Python" if compiled else "modules: plain Python"
    )
    if not counts:
        terminalreporter.write_line("real components: none of those that the tests asked for was absent")
