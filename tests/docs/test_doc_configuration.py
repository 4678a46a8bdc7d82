"""Every block of TOML loads, every plugin in the documents loads with it, and every setting that is named exists."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from doc_events import documented_events
from doc_pages import NAMES, ROOT, Block, blocks, inline, text_of

from upesi.config.defaults import system_text
from upesi.config.loading import load
from upesi.config.settings import Config
from upesi.hooks.loading import load_plugins
from upesi.hooks.services import SERVICES, SystemClock, Unused

# what a server has; nothing is asked of it while plugins load
_SERVICES = {**dict.fromkeys(SERVICES, Unused()), "clock": SystemClock(), "node": "mail.example.com"}
_SECTIONS = {field.name for field in msgspec.structs.fields(Config)}
_KEY = re.compile(r"([a-z]+)((?:\.[a-z_]+)+)")


def _silence(name: str, fields: dict[str, object]) -> None:
    """Take what plugins report while they load."""


def _plugins_of(page: str, folder: Path) -> None:
    """Write the plugins that a page shows where a configuration in `folder` looks for them."""
    for block in blocks("python", pages=(page,)):
        file = folder / block.title
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text)


@pytest.mark.parametrize("block", blocks("toml"), ids=lambda block: block.page)
def test_configurations_load(block: Block, tmp_path: Path) -> None:
    """A block of TOML, on top of the defaults, is a configuration, and its plugins take their settings."""
    _plugins_of(block.page, tmp_path)
    file = tmp_path / "upesi.toml"
    file.write_text(block.text)
    config = load(file)
    loaded = load_plugins(config.plugins, _SERVICES, _silence, source=str(file), folder=tmp_path)
    assert {plugin.name for plugin in loaded} == set(config.plugins.enabled)


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.title)
def test_plugins_load(block: Block, tmp_path: Path) -> None:
    """A plugin on a page is complete: it loads by its name through the same door as a reader's."""
    _plugins_of(block.page, tmp_path)
    name = Path(block.title).stem
    file = tmp_path / "upesi.toml"
    file.write_text(f'[plugins]\nenabled = ["{name}"]\n')
    (plugin,) = load_plugins(load(file).plugins, _SERVICES, _silence, source=str(file), folder=tmp_path)
    assert plugin.name == name
    assert plugin.hooks


def test_the_readmes_plugin_has_five_lines() -> None:
    """What is promised as five lines is an import and a function of four lines."""
    (block,) = blocks("python", pages=("README.md",))
    lines = [line for line in block.text.splitlines() if line and not line.startswith(("from ", "import "))]
    assert len(lines) <= 5


def _has(kind: object, keys: list[str]) -> bool:
    """Whether `keys` lead to a field of the settings `kind`."""
    inner = getattr(kind, "__args__", (kind,))[0]
    if not (isinstance(inner, type) and issubclass(inner, msgspec.Struct)):
        return not keys
    if not keys:
        return True
    for field in msgspec.structs.fields(inner):
        if field.name == keys[0]:
            return _has(field.type, keys[1:])
    return False


@pytest.mark.parametrize("page", NAMES)
def test_settings_that_are_named_exist(page: str) -> None:
    """A key in backticks is a key of the configuration."""
    events = documented_events()
    for code in inline(page):
        if code in events or code.endswith((".db", ".sock")) or not _KEY.fullmatch(code):
            continue
        section, *keys = code.split(".")
        if section in _SECTIONS:
            assert _has(Config, [section, *keys]), f"{page}: there is no setting {code}"


def test_the_unit_is_where_the_guide_says() -> None:
    """What the guide has the reader write for systemd fits the unit: it writes only where the unit lets it."""
    unit = (ROOT / "packaging/systemd/upesi.service").read_text()
    assert "StateDirectory=upesi\n" in unit
    assert "upesi init --system /etc/upesi\n" in text_of("docs/guide.md")
    written = re.findall(
        r'^(?:path = "|to = "maildir:)([^"]+)', system_text("mail.example", "/etc/upesi"), re.MULTILINE
    )
    assert written
    assert all(path.startswith("/var/lib/upesi/") for path in written)
    stop = re.search(r"TimeoutStopSec=(\d+)", unit)
    assert stop is not None
    assert int(stop[1]) >= float(Config().node.drain) + 10
