"""`upesi plugins doc`: what a plugin is for, its settings with what its author wrote of them, its hooks, its services."""

from __future__ import annotations

from pathlib import Path

import pytest

from upesi.config.problems import ConfigError
from upesi.config.settings import PluginsSettings
from upesi.hooks.describe import plugin_rows
from upesi.hooks.document import plugin_doc

CLASS = '''\
"""Count things."""

from upesi.plugin import Dns, Duration, OnError, Plugin, PluginSettings, hook


class Counting(Plugin):
    """Counts what comes."""

    requires = ("relay",)

    class Settings(PluginSettings):
        """The keys."""

        file: str  # where to
        # how long
        # it counts
        window: Duration = Duration("5m")
        names: tuple[str, ...] = ()

        on_error: OnError = "continue"

    def __init__(self, settings, dns: Dns, store):
        raise SystemExit("made")

    @hook.rcpt(after=["spf"], before=["recipients"])
    async def count(self, tx, recipient):
        """Count a recipient."""
'''


def test_a_plugin_is_described_without_being_made(tmp_path: Path) -> None:
    """A setting that must be given need not be; comments in front and behind are its meaning; own keys come first."""
    (tmp_path / "counting.py").write_text(CLASS)
    doc = plugin_doc(PluginsSettings(folder=str(tmp_path)), "counting")
    assert doc.readme == "Count things."
    assert doc.services == ("dns", "store")
    assert [(s.key, s.type, s.default, s.required, s.meaning) for s in doc.settings[:3]] == [
        ("file", "str", "", True, "where to"),
        ("window", "Duration", '"5m"', False, "how long it counts"),
        ("names", "tuple[str, ...]", "[]", False, ""),
    ]
    assert [s.key for s in doc.settings if s.common] == ["on_error", "deadline", "mandatory", "final"]
    assert next(s.default for s in doc.settings if s.key == "on_error") == '"continue"'
    (found,) = doc.hooks
    assert (found.point, found.function, found.summary, found.asynchronous) == (
        "rcpt",
        "count",
        "Count a recipient.",
        True,
    )
    assert (found.after, found.before) == (("spf",), ("recipients",))


def test_a_readme_beside_a_file_is_shown(tmp_path: Path) -> None:
    """NAME.md; without one the docstring."""
    (tmp_path / "five.py").write_text(
        '"""Five lines."""\nfrom upesi.plugin import hook\n\n@hook.connect\ndef f(session): ...\n'
    )
    config = PluginsSettings(folder=str(tmp_path))
    assert plugin_doc(config, "five").readme == "Five lines."
    (tmp_path / "five.md").write_text("# Five\n")
    assert plugin_doc(config, "five").readme == "# Five"


@pytest.mark.parametrize("name", [row.name for row in plugin_rows(PluginsSettings(folder="")) if row.kind == "bundled"])
def test_every_bundled_plugin_says_what_it_is(name: str) -> None:
    """Its README, and a line for each of its hooks."""
    doc = plugin_doc(PluginsSettings(folder=""), name)
    assert doc.readme.startswith(f"# {name}")
    assert doc.hooks
    assert all(hook.summary for hook in doc.hooks)


def test_a_name_that_no_plugin_bears(tmp_path: Path) -> None:
    """The nearest one is named."""
    with pytest.raises(ConfigError, match="did you mean greylist"):
        plugin_doc(PluginsSettings(folder=str(tmp_path)), "graylist")
