"""All bundled plugins together: what they declare of their order has no circle, and is what the contract wants."""

from __future__ import annotations

import importlib
from pathlib import Path

from upesi.config.settings import PluginsSettings
from upesi.hooks.describe import plugin_rows
from upesi.hooks.loading import plugin_outline
from upesi.hooks.order import Placed, in_order
from upesi.hooks.points import POINTS

CONFIG = PluginsSettings(folder="")
NAMES = sorted(row.name for row in plugin_rows(CONFIG) if row.kind == "bundled")


def order_at(point: str, names: list[str]) -> list[str]:
    """The plugins that have a hook there, as they would run."""
    placed = [
        (Placed(name, declaration.after, declaration.before), name)
        for name in names
        for declaration, _ in plugin_outline(CONFIG, name).hooks
        if declaration.point == point
    ]
    return in_order(placed)


def test_all_of_them_can_be_enabled() -> None:
    """At no hook is there a circle, in whichever order they are listed."""
    assert len(NAMES) > 20
    for point in POINTS:
        forwards, backwards = order_at(point, NAMES), order_at(point, NAMES[::-1])
        assert sorted(forwards) == sorted(backwards)


def test_names_in_declarations_exist() -> None:
    """after= and before= of the bundled ones name bundled ones."""
    for name in NAMES:
        for declaration, _ in plugin_outline(CONFIG, name).hooks:
            assert {*declaration.after, *declaration.before, *declaration.requires} <= set(NAMES), name


def test_recipients_are_judged_in_the_order_that_makes_sense() -> None:
    """At RCPT: held refusals, then what takes tags off, aliases, who exists, and greylisting for those that are left."""
    order = order_at("rcpt", NAMES)
    wanted = [name for name in order if name in ("delay_deny", "batv", "srs", "recipients", "greylist")]
    assert wanted == ["delay_deny", "batv", "srs", "recipients", "greylist"]
    assert order.index("aliases") < order.index("recipients") < order.index("greylist")


def test_bundled_plugins_are_packages_of_their_own() -> None:
    """plugin.py, an empty __init__.py, a README."""
    for name in NAMES:
        module = importlib.import_module(f"upesi.plugins.{name}.plugin")
        folder = Path(str(module.__file__)).parent
        assert (folder / "README.md").is_file(), name
        assert (folder / "__init__.py").read_text() == "", name
