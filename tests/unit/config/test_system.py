"""`upesi init --system` and packaging/systemd/upesi.service are two halves of one thing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from upesi.cli.main import upesi
from upesi.config.loading import load
from upesi.config.settings import Config

ROOT = Path(__file__).parents[3]


def unit() -> dict[str, list[str]]:
    """Return the unit's settings; one may be given several times."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(
        r"^(\w+)=(.*)$", (ROOT / "packaging/systemd/upesi.service").read_text(), re.MULTILINE
    ):
        found.setdefault(name, []).append(value)
    return found


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Config]:
    """What `upesi init --system` writes, and what it means."""
    result = CliRunner().invoke(upesi, ["init", "--system", str(tmp_path / "etc")])
    assert result.exit_code == 0
    assert "systemctl enable --now upesi" in result.stdout
    file = tmp_path / "etc" / "upesi.toml"
    return file, load(file)


def test_what_it_writes_lies_where_the_unit_lets_it_write(written: tuple[Path, Config]) -> None:
    """ProtectSystem=strict: spool, socket, Maildirs and log are below the state folder, by absolute paths in the file itself."""
    file, config = written
    assert unit()["ProtectSystem"] == ["strict"]
    state = f"/var/lib/{unit()['StateDirectory'][0]}/"
    paths = [config.spool.path, config.control.socket, *(route.to.partition(":")[2] for route in config.route)]
    assert all(path.startswith(state) for path in paths)
    assert not config.log.file
    named = re.findall(r'^(?:path|folder|to) = "(?:maildir:)?([^"]+)"', file.read_text(), re.MULTILINE)
    assert len(named) == 3
    assert all(path.startswith("/") for path in named)


def test_user_ports_and_times_agree_with_the_unit(written: tuple[Path, Config]) -> None:
    """The same user; a port below 1024 only with the capability; systemd waits longer than a drain."""
    _, config = written
    service = unit()
    assert [config.node.user] == service["User"]
    assert {listener.address for listener in config.listener} == {"127.0.0.1"}
    assert min(listener.port for listener in config.listener) == 25
    assert service["AmbientCapabilities"] == ["CAP_NET_BIND_SERVICE"]
    assert float(service["TimeoutStopSec"][0]) >= float(config.node.drain) + 10


def test_the_guide_installs_what_the_unit_starts() -> None:
    """The program, the file and the user of the unit are those that the guide makes."""
    guide = (ROOT / "docs/guide.md").read_text()
    program, _, file = unit()["ExecStart"][0].partition(" serve -c ")
    assert f"ln -s /opt/upesi/.venv/bin/upesi {program}" in guide
    assert f"upesi init --system {Path(file).parent}\n" in guide
    assert f" {unit()['User'][0]}\n" in guide
