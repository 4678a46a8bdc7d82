"""Finding, checking and making plugins: what stops a start-up, and what it says."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from upesi.config.loading import load as load_config
from upesi.config.problems import ConfigError
from upesi.config.settings import PluginsSettings
from upesi.hooks.describe import order_rows, plugin_rows
from upesi.hooks.discovery import find_plugins
from upesi.hooks.loading import LoadedPlugin, load_plugins, plugin_from
from upesi.hooks.registry import Hooks
from upesi.hooks.services import Absent
from upesi.hooks.verdict import Verdict
from upesi.mail.address import Address
from upesi.plugin import Duration, FilePath, Plugin, PluginSettings, Size, Transaction, accept, defer, hook
from upesi.testkit import FakeClock

from .hookkit import Bench

BUNDLED = ("aliases", "discard", "max_hops", "recipients", "relay")
Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write plugin files: `write(name="text")`."""

    def files(**texts: str) -> None:
        for name, text in texts.items():
            (tmp_path / f"{name}.py").write_text(text)

    return files


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., tuple[LoadedPlugin, ...]]:
    """Load plugins by name from the test's folder."""

    def plugins(*enabled: str, **settings: dict[str, object]) -> tuple[LoadedPlugin, ...]:
        config = PluginsSettings(enabled=enabled, folder=str(tmp_path), settings=settings)
        return load_plugins(
            config, {"clock": FakeClock()}, lambda event, fields: None, source="upesi.toml", folder=tmp_path
        )

    return plugins


Load = Callable[..., tuple[LoadedPlugin, ...]]


def build(plugins: tuple[LoadedPlugin, ...]) -> Hooks:
    return Hooks.build(plugins, monotonic=time.monotonic, emit=lambda event, fields: None)


IMPORT = "from upesi.plugin import hook\n"
CLASS = "from upesi.plugin import Plugin, hook\nclass A(Plugin):\n"
DATA = " @hook.data\n def f(self, tx): ..."
FIVE_LINES = """\
from upesi.plugin import hook, reject

@hook.mail
def no_mail_from_example(tx, sender):
    if sender.domain == "bad.example":
        return reject("5.7.1", "We take no mail from bad.example")
"""


def test_five_lines_in_a_file_are_a_plugin(write: Write, load: Load):
    """PLUGINS, "Two sizes of plugin": no class, no registration."""
    write(no_example=FIVE_LINES)
    hooks, bench = build(load("no_example")), Bench()
    verdict = hooks.mail.run(bench.session, bench.tx, Address("a", "bad.example"))
    assert isinstance(verdict, Verdict)
    assert str(verdict.reply) == "550 5.7.1 We take no mail from bad.example"
    assert hooks.mail.run(bench.session, bench.tx, Address("a", "good.example")) is None
    assert hooks.mail.run(bench.session, bench.tx, None) is None


def test_bundled_plugins_are_found_without_being_imported():
    """Discovery runs no plugin's code."""
    known = find_plugins(None)
    assert set(BUNDLED) <= known.keys()
    assert all(known[name][0].kind == "bundled" for name in BUNDLED)


def test_files_that_are_no_plugins_are_left_alone(write: Write, tmp_path: Path):
    """A name with _ in front is a module that plugins share; a folder that is missing holds none."""
    write(_shared="raise SystemExit", one=FIVE_LINES)
    (tmp_path / "Upper-Case.py").write_text("raise SystemExit")
    (tmp_path / "notes.txt").write_text("x")
    assert {name for name, sources in find_plugins(tmp_path).items() if sources[0].kind == "file"} == {"one"}
    assert set(BUNDLED) <= find_plugins(tmp_path / "missing").keys()


def test_a_file_of_a_common_name_does_not_replace_the_module(write: Write, load: Load):
    """plugins/json.py is not what `import json` gives to others."""
    write(json=FIVE_LINES)
    load("json")
    import json

    assert json.loads("1") == 1


def test_a_class_gets_its_settings_and_the_services_that_it_names(write: Write, load: Load, tmp_path: Path):
    """Services come by parameter name; units are read; relative paths are relative to the configuration's folder."""
    (tmp_path / "waitlist.py").write_text("""\
from upesi.plugin import Duration, FilePath, Plugin, PluginSettings, Size, hook

class Waitlist(Plugin):
    class Settings(PluginSettings):
        delay: Duration = Duration("5m")
        memory: Size = Size("1MB")
        file: FilePath = FilePath()

    def __init__(self, settings, clock, log):
        super().__init__(settings)
        self.clock, self.log = clock, log

    @hook.rcpt
    def first_contact(self, tx, recipient):
        tx.notes["seen"] = (self.settings.delay, self.settings.memory, self.settings.file, self.clock.monotonic())
""")
    (plugin,) = load("waitlist", waitlist={"delay": "10m", "memory": "2kB", "file": "list.txt", "on_error": "continue"})
    bench = Bench()
    hooks = build((plugin,))
    hooks.rcpt.run(bench.session, bench.tx, None)
    assert bench.tx.notes["seen"] == (600.0, 2000, str(tmp_path / "list.txt"), 0.0)
    assert hooks.rcpt.hooks[0].on_error is None


@pytest.mark.parametrize(
    ("enabled", "settings", "complaint"),
    [
        (("greylst",), {}, "upesi.toml: plugins.enabled[0]: there is no plugin 'greylst', did you mean greylist?"),
        (("../../etc/x",), {}, "upesi.toml: plugins.enabled[0]: there is no plugin '../../etc/x'"),
        (("waitlist",), {"waitlist": {"dealy": "1m"}}, "upesi.toml: plugins.waitlist.dealy: unknown key, did you mean delay?"),
        (("waitlist",), {"waitlist": {"delay": True}}, "upesi.toml: plugins.waitlist.delay: must be a duration such as 30s"),
        (("waitlist",), {"waitlist": {"delay": "soon"}}, "plugins.waitlist.delay: 'soon' is not a duration"),
        (("waitlist",), {"waitlist": {"on_error": "ignore"}}, "waitlist.on_error: 'ignore' is not valid; known here: continue, defer"),
        (("waitlist",), {"waitlist": {"deadline": 0}}, "plugins.waitlist.deadline: must be more than 0"),
        (("waitlist",), {"waitlist": {"limit": 0}}, "plugins.waitlist: limit must be at least 1"),
        (("waitlist",), {"greylits": {}}, "upesi.toml: plugins.greylits: there is no plugin 'greylits', did you mean greylist?"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_configuration_names_key_and_nearest_name(
    write: Write, load: Load, enabled: tuple[str, ...], settings: dict[str, dict[str, object]], complaint: str
):
    """An unknown name or key, a wrong type or value stops the start-up with file, key and the nearest valid name."""
    write(
        waitlist="""\
from upesi.plugin import Duration, Plugin, PluginSettings, hook

class Waitlist(Plugin):
    class Settings(PluginSettings):
        delay: Duration = Duration("5m")
        limit: int = 1

        def __post_init__(self):
            if self.limit < 1:
                raise ValueError("limit must be at least 1")

    @hook.rcpt
    def first_contact(self, tx, recipient): ...
"""
    )
    with pytest.raises(ConfigError) as error:
        load(*enabled, **settings)
    assert complaint in str(error.value)


def test_all_mistakes_are_said_at_once(load: Load):
    """An operator mends them in one go."""
    with pytest.raises(ConfigError) as error:
        load("rely", "max_hops", max_hops={"limt": 5, "deadline": "x"})
    assert len(error.value.problems) == 3


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x = (", "cannot be loaded: SyntaxError"),
        ("import no_such_module_anywhere", "cannot be loaded: ModuleNotFoundError"),
        ("raise SystemExit(0)", "cannot be loaded: SystemExit"),
        ("x = 1", "it has no hook"),
        (IMPORT + "@hook.recpt\ndef f(tx, r): ...", "there is no hook point 'recpt', did you mean rcpt?"),
        (IMPORT + "@hook.mail(after='spf')\ndef f(tx, s): ...", 'after= takes a list of names: after=["spf"]'),
        (IMPORT + "@hook.mail\ndef f(tx): ...", "f cannot be called as a mail hook, with (tx, sender)"),
        (IMPORT + "@hook.mail(after=['sfp'])\ndef f(tx, s): ...", "@hook.mail(after=): there is no plugin 'sfp'"),
        (IMPORT + "@hook.mail(before=['relai'])\ndef f(tx, s): ...", "did you mean relay?"),
        (IMPORT + "@hook.mail(requires=['relay'])\ndef f(tx, s): ...", "'relay' is not enabled, add 'relay'"),
        (IMPORT + "requires = ['relai']\n@hook.mail\ndef f(tx, s): ...", "'relai' is not enabled, did you mean relay?"),
        (CLASS + DATA + "\nclass B(A): ...", "several Plugin classes"),
        (CLASS + " def __init__(self, settings, dnss): ...\n" + DATA,
         "a service 'dnss' that there is not, did you mean dns?"),
        (CLASS + " def __init__(self, settings, http): ...\n" + DATA,
         "it needs the service 'http', which this server does not have"),
        (CLASS + " def __init__(self, settings): raise ValueError('no list')\n" + DATA,
         "upesi.toml: plugins.bad: no list"),
    ],
)  # fmt: skip
def test_a_broken_plugin_stops_the_start_up_and_says_why(write: Write, load: Load, text: str, complaint: str):
    """PLG-05: what is built for a reload fails as a whole, before anything is replaced."""
    write(bad=text)
    with pytest.raises(ConfigError) as error:
        load("bad")
    assert complaint in str(error.value)
    assert "bad" in str(error.value)


def test_two_plugins_of_one_name_are_an_error_only_when_enabled(write: Write, load: Load):
    """Which of the two was meant is not guessed."""
    write(relay=FIVE_LINES, one=FIVE_LINES)
    assert [plugin.name for plugin in load("one")] == ["one"]
    with pytest.raises(ConfigError, match="'relay' is the name of several plugins"):
        load("relay")


def test_a_name_in_after_that_is_not_enabled_is_ignored(write: Write, load: Load):
    """It exists, so it is no misspelling."""
    write(one=IMPORT + "@hook.mail(after=['relay'])\ndef f(tx, s): ...")
    assert [h.guard.name for h in build(load("one")).mail.hooks] == ["one"]


def test_order_comes_from_declarations_then_from_the_list(write: Write, load: Load):
    """after= and before=, else the configuration's list; a circle stops the build and is named."""
    head = IMPORT + ""
    write(
        one=head + "@hook.mail(after=['three'])\ndef f(tx, s): ...\n@hook.data\ndef g(tx): ...",
        two=head + "@hook.mail\ndef f(tx, s): ...",
        three=head + "@hook.mail\ndef f(tx, s): ...\n@hook.data\ndef g(tx): ...",
        four=head + "@hook.mail(after=['one'], before=['three'])\ndef f(tx, s): ...",
    )
    hooks = build(load("one", "two", "three"))
    assert [h.guard.name for h in hooks.mail.hooks] == ["two", "three", "one"]
    assert [h.guard.name for h in hooks.data.hooks] == ["one", "three"]
    with pytest.raises(ConfigError, match="mail: their order is a circle"):
        build(load("one", "three", "four"))


class Family(Plugin):
    """A base class that hooks in, and leaves the decision to those that inherit."""

    @hook.rcpt(deadline="3s")
    def check(self, tx: Transaction, recipient: object) -> Verdict | None:
        return self.decide()

    def decide(self) -> Verdict | None:
        return None


class Child(Family):
    """One that decides."""

    def decide(self) -> Verdict | None:
        return accept()


class Overriding(Family):
    """One that replaces the hook itself."""

    def check(self, tx: Transaction, recipient: object) -> Verdict | None:
        return defer()


def test_a_function_gets_the_services_that_it_names(write: Write, load: Load):
    """Behind the arguments of its hook, or by keyword only; the function is told and found as it is written."""
    write(
        timed="from upesi.plugin import hook, reject\n"
        "@hook.mail\n"
        "def told(tx, sender, clock):\n    return reject('5.7.1', f'at {clock.now():.0f}')\n"
        "@hook.rcpt\n"
        "async def waits(tx, clock, *, log, other=1):\n    log('asked', at=log is not None, recipient=str(clock))\n"
    )
    (plugin,) = load("timed")
    told, waits = plugin.hooks
    verdict = told.function(None, None)
    assert isinstance(verdict, Verdict)
    assert verdict.reply is not None
    assert verdict.reply.text.startswith("at ")
    hooks = Hooks.build([plugin], monotonic=lambda: 0.0, emit=lambda event, fields: None)
    (first,), (second,) = hooks.mail.hooks, hooks.rcpt.hooks
    assert (first.name, first.asynchronous, first.line) == ("told", False, 2)
    assert (second.name, second.asynchronous) == ("waits", True)
    # "clock" stands in the place of the recipient there, and is the recipient
    asyncio.run(waits.function(None, "anna"))


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ("tx, sender, dns", "needs the service 'dns', which this server does not have"),
        ("tx, sender, dsn", "missing a required argument: 'dsn'"),
        ("tx", "too many positional arguments"),
    ],
)
def test_a_function_that_cannot_be_served_stops_the_start(write: Write, load: Load, parameters: str, complaint: str):
    """What it names and this server cannot have is said before anything runs."""
    write(timed=f"from upesi.plugin import hook\n@hook.mail\ndef told({parameters}):\n    return None\n")
    with pytest.raises(ConfigError, match=complaint):
        load("timed")


def test_plugins_inherit_hooks():
    """A base class hooks in once for a family; an overriding method keeps its place."""
    bench = Bench()
    assert build((plugin_from("child", Child),)).rcpt.run(bench.session, bench.tx, None) == accept()
    hooks = build((plugin_from("overriding", Overriding),))
    assert isinstance(hooks.rcpt.run(bench.session, bench.tx, None), Verdict)
    assert [hook.deadline for hook in hooks.rcpt.hooks] == [3.0]


class Units(Plugin):
    """Has settings of every unit."""

    class Settings(PluginSettings):
        names: tuple[str, ...] = ()
        wait: Duration = Duration("5m")
        size: Size = Size("1MB")
        file: FilePath = FilePath()

    @hook.data
    async def wait(self, tx: Transaction) -> None:
        """Do nothing."""


@pytest.mark.parametrize(("table", "expected"), [({}, 30.0), ({"deadline": "5s"}, 5.0)])
def test_the_operators_deadline_wins(table: dict[str, object], expected: float):
    """The setting, else the author's, else 30 s."""
    assert build((plugin_from("units", Units, table),)).data.hooks[0].deadline == expected
    family = build((plugin_from("child", Child, table),))
    assert family.rcpt.hooks[0].deadline == (5.0 if table else 3.0)


def test_operators_make_plugins_mandatory_and_final():
    """Both are settings of every plugin; neither is on by default."""
    plain = build((plugin_from("child", Child),)).rcpt.hooks[0]
    assert (plain.mandatory, plain.final) == (False, False)
    chosen = build((plugin_from("child", Child, {"mandatory": True, "final": True}),)).rcpt.hooks[0]
    assert (chosen.mandatory, chosen.final) == (True, True)


def test_the_order_table_says_what_runs_when():
    """`upesi plugins order`: plugin, function, deadline of what can be timed, on_error, file."""
    rows = list(order_rows(build((plugin_from("units", Units), plugin_from("child", Child, {"on_error": "continue"})))))
    assert [(row.point, row.position, row.plugin, row.function, row.deadline, row.on_error) for row in rows] == [
        ("rcpt", 1, "child", "check", None, "continue"),
        ("data", 1, "units", "wait", 30.0, "defer"),
    ]
    assert all(row.line > 0 for row in rows)


def test_the_list_of_plugins_runs_none_of_them(write: Write, tmp_path: Path):
    """`upesi plugins list`: the enabled ones first, with the first line of their docstring."""
    write(mine='"""Mine."""\nraise SystemExit', broken="x = (")
    rows = list(plugin_rows(PluginsSettings(enabled=("relay", "mine"), folder=str(tmp_path))))
    assert [(row.name, row.enabled) for row in rows[:2]] == [("relay", True), ("mine", True)]
    assert {row.name: row.summary for row in rows}["mine"] == "Mine."
    assert {row.name for row in rows} >= {*BUNDLED, "mine", "broken"}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (
            "from upesi.plugin import hook\n\n@hook.mail\ndef f(tx, sender)\n    pass\n",
            4,
            "SyntaxError: expected ':', in: def f(tx, sender)",
        ),
        ("x = 1\n  y = 2\n", 2, "IndentationError: unexpected indent, in: y = 2"),
        ("import os\n\nfrom nowhere_at_all import x\n", 3, "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("import json\njson.loads('{')\n", 2, "JSONDecodeError: Expecting property name"),
        ("import sys\n\n\nsys.exit()\n", 4, "SystemExit"),
    ],
)  # fmt: skip
def test_a_plugin_that_cannot_be_imported_is_told_with_its_line(
    write: Write, load: Load, tmp_path: Path, text: str, line: int, said: str
):
    """File, line and Python's own words; the line is the author's, also where a library raised."""
    write(mine=text)
    with pytest.raises(ConfigError) as caught:
        load("mine")
    (problem,) = caught.value.problems
    assert (problem.source, problem.line) == (str(tmp_path / "mine.py"), line)
    assert f"plugin mine cannot be loaded: {said}" in problem.text


def test_mistakes_in_settings_have_the_line_of_their_key(write: Write, tmp_path: Path):
    """A wrong value, an unknown key, a plugin's own complaint, a name that no plugin bears: each with its line."""
    head = CLASS.replace("Plugin, hook", "Plugin, PluginSettings, hook")
    settings = "    class Settings(PluginSettings):\n        size: int = 1\n"
    write(mine=f"{head}{settings}    @hook.mail\n    def f(self, tx, sender): pass\n")
    file = tmp_path / "upesi.toml"
    file.write_text(
        '[plugins]\nfolder = "."\nenabled = ["mine",\n    "mien"]\n\n[plugins.mine]\nsize = "x"\nsiez = 2\n\n[plugins.other]\na = 1\n'
    )
    config = load_config(file)
    with pytest.raises(ConfigError) as caught:
        load_plugins(config.plugins, {}, lambda event, fields: None, source=str(file), folder=tmp_path)
    assert sorted((problem.line, problem.key) for problem in caught.value.problems) == [
        (3, "plugins.enabled[1]"),
        (7, "plugins.mine.size"),
        (8, "plugins.mine.siez"),
        (10, "plugins.other"),
    ]
    assert all(problem.source == str(file) for problem in caught.value.problems)


def test_plugins_of_a_folder_share_modules(write: Write, load: Load):
    """`from ._shared import ...`: a name with _ in front is a module of the folder, and of this folder only."""
    write(
        _shared="BAD = frozenset({'bad.example'})\n",
        one="from upesi.plugin import hook, reject\nfrom ._shared import BAD\n\n"
        "@hook.mail\ndef mail(tx, sender):\n    return reject() if sender.domain in BAD else None\n",
    )
    (plugin,) = load("one")
    assert plugin.hooks[0].function.__globals__["BAD"] == {"bad.example"}
    assert "_shared" not in sys.modules


def test_installed_packages_offer_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Entry points of the group `upesi.plugins`: the class is the plugin, found without being imported, loaded by its name."""
    package = tmp_path / "site"
    (package / "nice_package-1.0.dist-info").mkdir(parents=True)
    (package / "nice_package-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: nice-package\nVersion: 1.0\n"
    )
    (package / "nice_package-1.0.dist-info" / "entry_points.txt").write_text(
        "[upesi.plugins]\nnice = nice_package:Nice\nbroken = nice_package:Missing\n"
    )
    (package / "nice_package.py").write_text(
        "from upesi.plugin import Plugin, PluginSettings, accept, hook\n\n"
        "class Nice(Plugin):\n"
        '    """Say yes."""\n\n'
        "    class Settings(PluginSettings):\n        often: int = 1\n\n"
        "    @hook.rcpt\n    def rcpt(self, tx, recipient):\n        return accept()\n"
    )
    monkeypatch.syspath_prepend(str(package))
    rows = {row.name: row for row in plugin_rows(PluginsSettings(enabled=("nice",), folder=""))}
    assert (rows["nice"].kind, rows["nice"].enabled, rows["nice"].where) == (
        "installed",
        True,
        "nice_package:Nice (nice-package)",
    )
    assert "nice_package" not in sys.modules
    config = PluginsSettings(enabled=("nice",), folder="", settings={"nice": {"often": 3}})
    (plugin,) = load_plugins(config, {}, lambda event, fields: None)
    assert plugin.summary == "Say yes."
    with pytest.raises(ConfigError, match="plugin broken cannot be loaded"):
        load_plugins(PluginsSettings(enabled=("broken",), folder=""), {}, lambda event, fields: None)


@pytest.mark.parametrize(
    ("asks", "services", "complaint"),
    [
        ("dsn", {}, "it asks for a service 'dsn' that there is not, did you mean dns?"),
        ("http", {}, "it needs the service 'http', which this server does not have"),
        (
            "http",
            {"http": Absent("install it")},
            "it needs the service 'http', which this server does not have: install it",
        ),
    ],
)
def test_a_service_that_is_not_there_stops_the_start(
    write: Write, tmp_path: Path, asks: str, services: dict[str, object], complaint: str
):
    """With the plugin's name and, where it is known, what would help."""
    write(
        asking=f"from upesi.plugin import Plugin, hook\n\nclass Asking(Plugin):\n    def __init__(self, settings, {asks}):\n"
        "        super().__init__(settings)\n\n    @hook.connect\n    def connect(self, session):\n        return None\n"
    )
    with pytest.raises(ConfigError) as error:
        load_plugins(PluginsSettings(enabled=("asking",), folder=str(tmp_path)), services, lambda event, fields: None)
    assert f"plugin asking: {complaint}" in str(error.value)
