"""`[[program]]`: what can be wrong with one is found before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from upesi.config.loading import load
from upesi.config.problems import ConfigError
from upesi.runtime.sending import check_sending

_WHOLE = '[[program]]\nname = "archive"\ncommand = ["/bin/cat", "--to={recipient}"]\n'


def complaints(tmp_path: Path, text: str) -> str:
    path = tmp_path / "upesi.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        check_sending(load(path))
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("/bin/cat", "cat"), "absolute path"),
        (("/bin/cat", "/bin/{local}"), "places are for arguments"),
        (("/bin/cat", "/etc/passwd"), "no file that this user can execute"),
        (("/bin/cat", "/nowhere/cat"), "no file that this user can execute"),
        (("{recipient}", "{recipent}"), "did you mean recipient?"),
        (("{recipient}", "{}"), "stands for nothing"),
        (("{recipient}", "\\u0000"), "NUL"),
        (("--to={recipient}", "-f{sender}"), "two arguments"),
        (("--to={recipient}", "-x{domain}{sender}"), "two arguments"),
        (('"archive"', '"a b"'), "is no name"),
        (('name = "archive"', 'name = "archive"\ndeadline = "0s"'), "more than 0"),
    ],
    ids=[
        "relative",
        "place",
        "not-executable",
        "missing",
        "misspelt",
        "empty",
        "nul",
        "swallows",
        "swallows-too",
        "name",
        "deadline",
    ],
)
def test_what_cannot_be_run_stops_the_start(tmp_path: Path, change: tuple[str, str], complaint: str) -> None:
    """The key and what would be right are named."""
    said = complaints(tmp_path, _WHOLE.replace(*change))
    assert complaint in said
    assert "program[0]" in said


def test_an_option_may_have_an_empty_value(tmp_path: Path) -> None:
    """What stays an option with a value of its own, whoever the sender is, stays as it is written."""
    path = tmp_path / "upesi.toml"
    path.write_text(
        _WHOLE.replace(
            '"--to={recipient}"', '"--from={sender}", "-f", "{sender}", "-d{local}", "-f<{sender}>", "-i{id}"'
        )
    )
    check_sending(load(path))


def test_a_route_names_a_program_that_is_there(tmp_path: Path) -> None:
    """A misspelt name is found with the nearest that there is; no name is one twice."""
    route = '[[route]]\ndomains = ["a.example"]\nto = "pipe:archve"\n'
    assert "did you mean archive?" in complaints(tmp_path, _WHOLE + route)
    assert "twice" in complaints(tmp_path, _WHOLE + _WHOLE)
    path = tmp_path / "upesi.toml"
    path.write_text(_WHOLE + route.replace("archve", "archive"))
    check_sending(load(path))
