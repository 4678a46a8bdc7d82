"""Events, metrics, hooks and bounds: what the documents list is what the code has, and nothing is missing."""

from __future__ import annotations

import ast
import importlib
import re

import msgspec
import pytest
from doc_events import documented_events, documented_rows, emitted
from doc_pages import SOURCE, coded, inline, modules, rows, section, text_of

from upesi.config.settings import Config
from upesi.database.sqlite import PAGE_SIZE
from upesi.hooks.points import POINTS
from upesi.hooks.services import SERVICES
from upesi.observe.metrics import Metrics
from upesi.observe.series import decode_snapshot

# --- events


def test_every_event_is_in_the_reference_and_the_other_way_round() -> None:
    """What the source emits and what docs/operating.md lists are the same."""
    assert documented_events() == set(emitted())


@pytest.mark.parametrize(("event", "fields"), sorted(emitted().items()))
def test_the_fields_of_an_event_are_in_its_row(event: str, fields: set[str]) -> None:
    """Fields that stand in the call that emits an event are named in its row."""
    cell = documented_rows()[event]
    if "as above" not in cell:
        assert fields <= set(coded(cell))


# --- metrics


def test_every_metric_is_in_the_reference_and_the_other_way_round() -> None:
    """Names, types and labels of metrics in docs/operating.md are those that a worker exports."""
    families = decode_snapshot(Metrics().export())
    documented = {
        coded(cells[0])[0]: (cells[1], tuple(coded(cells[2])))
        for cells in rows(section("docs/operating.md", "metrics"))
    }
    assert documented == {family.name: (family.kind, family.labels) for family in families}


def test_metrics_that_nobody_counts_are_called_so() -> None:
    """The list of metrics that are declared only is exact: a metric that is counted from now on must leave it."""
    declared = re.findall(
        r'self\.(\w+)(?:: \w+)? = (?:registry\.)?(?:counter|gauge|histogram)\(\s*"(\w+)"',
        (SOURCE / "observe/metrics.py").read_text(),
    )
    assert len(declared) > 10
    rest = "\n".join(path.read_text() for path in SOURCE.rglob("*.py") if path.name != "metrics.py")
    unfilled = {name for attribute, name in declared if not re.search(rf"metrics\.{attribute}\b", rest)}
    match = re.search(r"<!-- unfilled[^>]*-->\n(.*?)<!-- /unfilled -->", text_of("docs/operating.md"), re.DOTALL)
    listed = {code for code in coded(match[1]) if code.startswith("upesi_")} if match else set()
    assert listed == unfilled, "docs/operating.md, section unfilled: name exactly the metrics that nothing counts"


# --- hooks


def _not_called() -> set[str]:
    """Return the hook points whose chain nobody runs."""
    rooms = [path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] not in ("hooks", "testkit")]
    text = "\n".join(path.read_text() for path in rooms)
    # start and stop run through Hooks.begin and Hooks.end, denied within the chains
    inner = ("start", "stop", "denied")
    return {name for name in POINTS if name not in inner and not re.search(rf"hooks\.{name}\b", text)}


def test_hooks_in_the_haraka_table_are_hook_points() -> None:
    """The table from Haraka names existing hook points, and all of them."""
    named = {code for cells in rows(section("docs/from-haraka.md", "hooks")) for code in coded(cells[1])}
    assert named == set(POINTS)


def test_hooks_that_nobody_calls_are_called_so() -> None:
    """README and the Haraka page say of exactly those hook points that they are not called yet."""
    table = rows(section("docs/from-haraka.md", "hooks"))
    declared_only = {code for cells in table if "not called yet" in cells[2] for code in coded(cells[1])}
    assert declared_only == _not_called()
    readme = [cells[0] for cells in rows(text_of("README.md")) if "not called yet" in cells[-1]]
    assert {code for cell in readme for code in coded(cell)} == _not_called()


# --- services


def test_every_service_has_a_row_in_the_handbook() -> None:
    """What a plugin may ask for is what docs/plugins.md lists."""
    text = text_of("docs/plugins.md").partition("\n## Services\n")[2].partition("\n##")[0]
    assert [coded(cells[0]) for cells in sorted(rows(text))] == [[name] for name in sorted(SERVICES)]


# --- bounds

_NUMBER = re.compile(r"(\d+) ?(KiB|MiB|GiB)?")
_UNIT = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def _bounds() -> list[tuple[str, str, str]]:
    return [(cells[0], cells[1], cells[2]) for cells in rows(text_of("docs/limits.md"))]


def _setting(key: str) -> object:
    section, *parts = key.split(".")
    value: object = getattr(Config(), section)
    if value == ():
        # a section that may be repeated and is not there by itself
        (field,) = [field for field in msgspec.structs.fields(Config) if field.name == section]
        defaults = {field.name: field.default for field in _fields_of(field.type)}
        return defaults[parts[0]]
    for part in parts:
        value = value[0] if isinstance(value, (tuple, list)) else value
        value = getattr(value, part)
    return value


def _constant(name: str) -> float:
    module, _, constant = name.rpartition(".")
    value = getattr(importlib.import_module(f"upesi.{module}"), constant)
    assert isinstance(value, (int, float))
    return value * PAGE_SIZE if constant.endswith("_FRAMES") else value


@pytest.mark.parametrize(("what", "default", "where"), _bounds())
def test_bounds_are_those_of_the_code(what: str, default: str, where: str) -> None:
    """The number beside a bound is the default of its setting, or the value of its constant."""
    names = coded(where)
    assert names, f"{what}: nobody says where"
    if " in " in where:
        pytest.importorskip("upesi.plugins")
        plugin = coded(where)[1].strip("[]").rpartition(".")[2]
        module = importlib.import_module(f"upesi.plugins.{plugin}.plugin")
        (kind,) = [item for item in vars(module).values() if getattr(item, "__module__", "") == module.__name__
                   and isinstance(item, type) and hasattr(item, "Settings")]  # fmt: skip
        assert str(getattr(kind.Settings(), names[0])) == default
    elif names[0].rpartition(".")[2].isupper():
        given = [int(number) * _UNIT[unit] for number, unit in _NUMBER.findall(default)]
        values = [_constant(name) for name in names]
        # one number for several constants, or one each
        assert [*values][: len(given)] == given or set(values) == set(given)
    else:
        assert str(_setting(names[0])) == default


def test_every_maximum_in_the_source_is_in_the_table() -> None:
    """A constant called MAX_ anything is a bound that an operator can meet: docs/limits.md has it."""
    listed = set(inline("docs/limits.md"))
    found = {
        f"{module}.{target.id}"
        for module, tree in modules()
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and re.match(r"_?MAX_", target.id)
    }
    assert found <= listed, f"not in docs/limits.md: {sorted(found - listed)}"


def test_every_bounding_setting_is_in_the_table() -> None:
    """So does every setting whose name says that it bounds something."""
    listed = set(inline("docs/limits.md"))
    bounding = re.compile(r"max_|min_|timeout|memory_|_limit$|connections$|expire$|cache_size$|drain$")
    found = {
        f"{section.name}.{field.name}"
        for section in msgspec.structs.fields(Config)
        for field in _fields_of(section.type)
        if bounding.search(field.name) and not _fields_of(field.type)
    }
    assert found <= listed, f"not in docs/limits.md: {sorted(found - listed)}"


def _fields_of(kind: object) -> tuple[msgspec.structs.FieldInfo, ...]:
    inner = getattr(kind, "__args__", (kind,))[0]
    return msgspec.structs.fields(inner) if isinstance(inner, type) and issubclass(inner, msgspec.Struct) else ()
