"""What `upesi serve` without a configuration tells whoever started it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from upesi.config.loading import load
from upesi.runtime import serve


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("{here}/.venv/bin/upesi", ".venv/bin/upesi status"),
        (".venv/bin/upesi", ".venv/bin/upesi status"),
        ("/elsewhere/bin/upesi", "/elsewhere/bin/upesi status"),
        ("{here}/onpath/upesi", "another terminal: upesi status"),
    ],
)
def test_commands_are_printed_as_they_can_be_typed(
    program: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After `make run` there is no `upesi` on the PATH: the hint names the file that was started."""
    (tmp_path / "onpath").mkdir()
    (tmp_path / "onpath" / "upesi").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/onpath{os.pathsep}/usr/bin")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [program.format(here=tmp_path)])
    serve._greet(load(None), [("127.0.0.1", 2525)])
    assert said in capsys.readouterr().err
