"""The plugin handbook keeps its word: its examples run, its table is the code's."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import re
import time
import tomllib
from pathlib import Path

import pytest

from upesi.config.settings import PluginsSettings
from upesi.hooks.describe import plugin_rows
from upesi.hooks.hook import DEADLINE
from upesi.hooks.loading import load_plugins
from upesi.hooks.points import POINTS
from upesi.hooks.registry import Hooks
from upesi.hooks.verdict import Verdict, VerdictKind
from upesi.mail.address import Address
from upesi.plugin import Plugin, PluginSettings
from upesi.testkit import FakeClock, FakeLookup, FakeResolver, Trial, message
from upesi.testkit.trial import trial_services

ROOT = Path(__file__).parents[2]
HANDBOOK = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r'```python title="([^"]+)"\n(.*?)```', HANDBOOK, re.DOTALL))
PLUGINS = sorted(Path(name).stem for name in FILES if "/tests/" not in name)
TESTS = sorted(name for name in FILES if "/tests/" in name)

SERVICES = {**trial_services(FakeClock(), FakeResolver()), "lookup": FakeLookup({"file:quota.txt": {}})}


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The handbook's files, where a reader would have put them."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_examples_were_found():
    """The handbook has plugins and tests to run: this file must not pass because it reads nothing."""
    assert len(PLUGINS) >= 5
    assert len(TESTS) >= 2


def test_every_example_plugin_loads(written: Path):
    """All of them together, by the loader that the server uses."""
    config = PluginsSettings(enabled=tuple(PLUGINS), folder=str(written / "plugins"))
    loaded = load_plugins(config, SERVICES, lambda event, fields: None)
    hooks = Hooks.build(loaded, monotonic=time.monotonic, emit=lambda event, fields: None)
    assert sorted(hooks.guards) == PLUGINS


@pytest.mark.parametrize("name", TESTS)
def test_every_example_test_passes(written: Path, name: str):
    """What the handbook shows as a test is one, and is green."""
    namespace: dict[str, object] = {"__name__": "handbook"}
    exec(compile(FILES[name], name, "exec"), namespace)
    tests = [value for key, value in namespace.items() if key.startswith("test_") and callable(value)]
    assert tests
    for test in tests:
        result = test()
        if inspect.iscoroutine(result):
            asyncio.run(result)


async def test_the_five_lines_do_what_they_say(written: Path):
    """The first example refuses its domain and takes bounces."""
    trial = Trial.of(written / "plugins" / "no_example.py")
    refused = await trial.mail("a@bad.example")
    assert isinstance(refused, Verdict)
    assert str(refused.reply) == "550 5.7.1 We take no mail from bad.example"
    assert await trial.mail("") is None


async def test_the_subject_example_adds_its_header(written: Path):
    """A message without Subject is refused, one with it gets a field and a result."""
    trial = Trial.of(written / "plugins" / "subject.py")
    await trial.mail()
    await trial.rcpt()
    refused = await trial.message(message(fields={"Subject": None}))
    assert isinstance(refused, Verdict)
    assert refused.kind is VerdictKind.REJECT
    await trial.mail()
    assert await trial.message(message()) is None
    assert trial.tx.added == (b"X-Hops: 0\r\n",)
    assert trial.tx.results == {"subject": ("pass", "")}


async def test_the_exemption_overrides_the_refusal(written: Path):
    """The last example with the first: friends may send from the bad domain, others not."""
    config = PluginsSettings(enabled=("no_example", "friends"), folder=str(written / "plugins"))
    loaded = load_plugins(config, {}, lambda event, fields: None)
    friend, stranger = Trial(*loaded, ip="192.0.2.7"), Trial(*loaded, ip="192.0.2.8")
    assert await friend.mail("a@bad.example") is None
    assert isinstance(await stranger.mail("a@bad.example"), Verdict)


async def test_the_key_holder_comes_in(written: Path):
    """The example at `auth`: the right password lets in, a wrong one is nobody's business here, the wrong network is refused."""
    config = PluginsSettings(enabled=("key_holders",), folder=str(written / "plugins"))
    loaded = load_plugins(config, {}, lambda event, fields: None)
    trial = Trial(*loaded, ip="192.0.2.7")
    assert await trial.auth("anna", "wrong") is None
    assert await trial.auth("bert", "correct horse battery staple") is None
    assert await trial.auth("anna") is None
    assert trial.session.identity is None
    await trial.auth("anna", "correct horse battery staple")
    assert trial.session.identity == "anna@example.org"
    outside = Trial(*loaded, ip="198.51.100.7")
    await outside.auth("anna", "correct horse battery staple")
    assert outside.refused()
    assert outside.session.identity is None
    assert "correct horse" not in str(trial.report() + outside.report())


def test_the_table_of_hook_points_is_the_codes():
    """Names, order, arguments and verdicts."""
    table = HANDBOOK.partition("<!-- points:")[2].partition("##")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*)\| ([^|]*)\|$", table, re.MULTILINE)
    assert [(name, tuple(filter(None, arguments.strip().split(", ")))) for name, arguments, _ in rows] == [
        (point.name, point.arguments) for point in POINTS.values()
    ]
    for name, _, answers in rows:
        kinds = {kind for kind in VerdictKind if re.search(rf"\b{kind.value}\b", answers)}
        assert kinds == POINTS[name].kinds, name


def test_the_toml_example_is_the_default_and_one_more():
    """The list that a reader copies does not switch anything off."""
    text = re.search(r"```toml\n(.*?)```", HANDBOOK, re.DOTALL)
    assert text is not None
    enabled = tuple(tomllib.loads(text[1])["plugins"]["enabled"])
    assert enabled == (*PluginsSettings().enabled, "no_example")


def test_every_bundled_plugin_is_described():
    """Each has a README with all of its settings, and a row in the handbook."""
    rows = [row for row in plugin_rows(PluginsSettings(folder="")) if row.kind == "bundled"]
    assert {row.name for row in rows} == set(re.findall(r"\[(\w+)\]\(\.\./src/upesi/plugins", HANDBOOK))
    for row in rows:
        readme = (Path(row.where).parent / "README.md").read_text(encoding="utf-8")
        module = importlib.import_module(f"upesi.plugins.{row.name}.plugin")
        (kind,) = (
            v for v in vars(module).values() if isinstance(v, type) and issubclass(v, Plugin) and v is not Plugin
        )
        settings = set(kind.Settings.__struct_fields__) - set(PluginSettings.__struct_fields__)
        assert row.summary
        assert settings
        cells = re.findall(r"^\| (`[^|]*) \|", readme, re.MULTILINE)
        assert sorted(settings - {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}) == []


def test_numbers_in_the_handbook_are_the_codes():
    """The default deadline."""
    assert f"| `deadline` | {DEADLINE:g} s" in HANDBOOK
    assert Address("", "").domain == ""
