"""What a run of the tests says at its end of real components that were absent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from integration.server import PATIENCE

_SOME = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_with(number):
    pytest.skip("absent: frobnicator")

def test_without():
    pass
"""
_NONE = 'import pytest\npytest.skip("absent: the whole of it", allow_module_level=True)\n'


def test_what_was_absent_is_said_whichever_process_met_it(tmp_path: Path) -> None:
    """A silent skip is a defect: tests that are shared out between processes are counted together, and modules once."""
    shutil.copy(Path(__file__).parents[1] / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    for name, text in (("test_one", _SOME), ("test_two", _SOME), ("test_three", _NONE)):
        (tmp_path / f"{name}.py").write_text(text)
    argv = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider", "."]
    # In the common place it would first delete what earlier runs left there, for a minute and more
    own = os.environ | {"PYTEST_DEBUG_TEMPROOT": str(tmp_path)}
    said = subprocess.run(
        argv, cwd=tmp_path, env=own, capture_output=True, text=True, timeout=PATIENCE, check=False
    ).stdout
    assert "ABSENT: frobnicator: 6 tests did not run" in said
    assert "ABSENT: the whole of it: 1 tests did not run" in said
    assert "2 passed, 7 skipped" in said
