"""From the names in `[plugins]` to living plugins, or to every reason why the server must not start with them."""

from __future__ import annotations

import functools
import inspect
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

import msgspec

from upesi.config.problems import ConfigError, Problem, nearest
from upesi.config.settings import PluginsSettings
from upesi.hooks.api import API_VERSION, api_problem
from upesi.hooks.declaration import Declaration, Plugin, PluginSettings, declarations_of
from upesi.hooks.discovery import PluginSource, find_plugins
from upesi.hooks.guard import Emit
from upesi.hooks.points import POINTS
from upesi.hooks.services import SERVICES, Absent, PluginLog
from upesi.hooks.settings import Origin, read_settings

__all__ = ["BoundHook", "LoadedPlugin", "Outline", "load_plugin", "load_plugins", "plugin_from", "plugin_outline"]


class BoundHook(msgspec.Struct, frozen=True):
    """A function or bound method, ready to be called, with what its decorator said."""

    declaration: Declaration
    function: Callable[..., object]


class Outline(msgspec.Struct, frozen=True):
    """A plugin that was imported and not made: its class (`Plugin` itself for a file of functions), its hooks, the services it names."""

    source: PluginSource
    module: object
    kind: type[Plugin]
    hooks: tuple[tuple[Declaration, Callable[..., object]], ...]
    services: tuple[str, ...]


class LoadedPlugin(msgspec.Struct, frozen=True):
    """One enabled plugin: made, with its hooks in the order of its file."""

    name: str
    kind: str
    file: str
    settings: PluginSettings
    hooks: tuple[BoundHook, ...]
    requires: tuple[str, ...] = ()
    summary: str = ""


def load_plugins(
    config: PluginsSettings,
    services: Mapping[str, object],
    emit: Emit,
    *,
    source: str = "configuration",
    folder: Path | None = None,
) -> tuple[LoadedPlugin, ...]:
    """Load the enabled plugins, in the configuration's order; raise ConfigError with everything that is wrong.

    `services` are those that this worker has, by name ("clock", "dns"); a plugin's log comes from `emit`. `source` is the
    configuration's file as messages name it, `folder` the one that relative paths in plugins' settings are relative to.
    """
    known = find_plugins(Path(config.folder) if config.folder else None)
    origin = Origin(source)
    loader = _Loader(config, services, emit, origin, folder or Path())
    problems = [
        origin.problem(("plugins", name), f"there is no plugin {name!r}{nearest(name, known)}")
        for name in config.settings
        if name not in known
    ]
    loaded: list[LoadedPlugin] = []
    for index, name in enumerate(config.enabled):
        try:
            loaded.append(loader.load(_the_source(name, known, origin.problem(("plugins", "enabled", index), ""))))
        except ConfigError as error:
            problems += error.problems
    # what failed to load would be missed by others' `requires` as well: one message is enough
    problems += _names_problems(loaded, known, config.enabled)
    if problems:
        raise ConfigError(problems)
    return tuple(loaded)


def load_plugin(
    name: str,
    config: PluginsSettings,
    services: Mapping[str, object],
    emit: Emit,
    *,
    source: str = "configuration",
    folder: Path | None = None,
) -> LoadedPlugin:
    """Load one plugin by itself, enabled or not, with its settings from `config`; raise ConfigError. Arguments as for `load_plugins`."""
    known = find_plugins(Path(config.folder) if config.folder else None)
    loader = _Loader(config, services, emit, Origin(source), folder or Path())
    return loader.load(_the_source(name, known, Problem("plugins", 0, "", "")))


def plugin_outline(config: PluginsSettings, name: str) -> Outline:
    """Import the plugin `name`, enabled or not, and say what is in it; raise ConfigError."""
    source = _the_source(
        name, find_plugins(Path(config.folder) if config.folder else None), Problem("plugins", 0, "", "")
    )
    module = _imported(source)
    kind, functions = _content(module, source)
    found = [(bound.declaration, bound.function) for bound in functions]
    found += [
        (declaration, getattr(kind, name)) for name, declared in _declared(kind).items() for declaration in declared
    ]
    services = dict.fromkeys([*_asked(kind, source), *(name for bound in functions for name in _asked_by(bound))])
    return Outline(source, module, kind, tuple(found), tuple(services))


def plugin_from(
    name: str,
    module: object,
    table: Mapping[str, object] | None = None,
    services: Mapping[str, object] | None = None,
    emit: Emit = lambda event, fields: None,
) -> LoadedPlugin:
    """Make a plugin from a module or a `Plugin` class: what tests use in place of files and a configuration. Raise ConfigError."""
    loader = _Loader(
        PluginsSettings(settings={name: dict(table or {})}), services or {}, emit, Origin("settings"), Path()
    )
    return loader.load(PluginSource(name, "file", getattr(module, "__file__", None) or name, lambda: module))


def _the_source(name: str, known: Mapping[str, tuple[PluginSource, ...]], problem: Problem) -> PluginSource:
    sources = known.get(name, ())
    if len(sources) == 1:
        return sources[0]
    text = f"there is no plugin {name!r}{nearest(name, known)}"
    if sources:
        text = f"{name!r} is the name of several plugins: {', '.join(each.where for each in sources)}"
    raise ConfigError([msgspec.structs.replace(problem, text=text)])


class _Loader:
    """Loads single plugins; holds what they have in common."""

    __slots__ = ("_config", "_emit", "_folder", "_origin", "_services")

    def __init__(
        self, config: PluginsSettings, services: Mapping[str, object], emit: Emit, origin: Origin, folder: Path
    ) -> None:
        self._config = config
        self._services = services
        self._emit = emit
        self._origin = origin
        self._folder = folder

    def load(self, source: PluginSource) -> LoadedPlugin:
        """Import and make one plugin; raise ConfigError."""
        module = self._imported(source)
        kind, functions = _content(module, source)
        problem = api_problem(
            getattr(kind if kind is not Plugin else module, "api", getattr(module, "api", API_VERSION))
        )
        if problem:
            raise _error(source, problem)
        table = self._config.settings.get(source.name, {})
        settings, problems = read_settings(
            kind.Settings, table, name=source.name, origin=self._origin, folder=self._folder
        )
        if settings is None or problems:
            raise ConfigError(problems)
        plugin = self._made(kind, settings, source)
        methods = _methods(plugin)
        if not functions and not methods:
            raise _error(source, "it has no hook: decorate its functions with @hook.mail, @hook.rcpt, ...")
        for bound in methods:
            _check_arguments(bound, source)
        hooks = (*(self._served(bound, source) for bound in functions), *methods)
        required = (
            (*kind.requires, *getattr(module, "requires", ())) if isinstance(module, ModuleType) else kind.requires
        )
        doc = inspect.getdoc(kind) if kind is not Plugin else inspect.getdoc(module)
        summary = (doc or "").partition("\n")[0]
        return LoadedPlugin(source.name, source.kind, source.where, settings, hooks, tuple(required), summary)

    def _imported(self, source: PluginSource) -> object:
        """Import, and say which deprecated names were used."""
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("ignore")
            warnings.filterwarnings("always", r"upesi\.plugin\.", DeprecationWarning)
            module = _imported(source)
        for each in said:
            where = f"{each.filename}:{each.lineno}"
            self._emit("plugin.deprecated", {"plugin": source.name, "text": str(each.message), "where": where})
        return module

    def _made(self, kind: type[Plugin], settings: PluginSettings, source: PluginSource) -> Plugin:
        services = {name: self._service(name, source) for name in _asked(kind, source)}
        try:
            return kind(settings, **services)
        except Exception as error:
            # a table that cannot be read, a value that contradicts another: the plugin's text is for the operator
            text = str(error) or type(error).__name__
            raise ConfigError([self._origin.problem(("plugins", source.name), text)]) from error

    def _served(self, bound: BoundHook, source: PluginSource) -> BoundHook:
        """Return a function with the services that its parameters name: a file of functions has no constructor to be handed them."""
        asked = _asked_by(bound)
        _check_arguments(bound, source, asked)
        if not asked:
            return bound
        given = {name: self._service(name, source) for name in asked}
        # named like the function, and found in its place: in failures, and in `upesi plugins order`
        served = functools.update_wrapper(functools.partial(bound.function, **given), bound.function)
        return BoundHook(bound.declaration, served)

    def _service(self, name: str, source: PluginSource) -> object:
        if name == "log":
            return PluginLog(source.name, self._emit)
        if name not in SERVICES:
            raise _error(source, f"it asks for a service {name!r} that there is not{nearest(name, SERVICES)}")
        service = self._services.get(name)
        if service is None or isinstance(service, Absent):
            why = f": {service.why}" if service is not None else ""
            raise _error(source, f"it needs the service {name!r}, which this server does not have{why}")
        return service


def _error(source: PluginSource, text: str) -> ConfigError:
    return ConfigError([Problem(source.where, 0, "", f"plugin {source.name}: {text}")])


def _imported(source: PluginSource) -> object:
    try:
        return source.load()
    except (KeyboardInterrupt, ConfigError):
        raise
    # a plugin that calls sys.exit() when imported is a broken plugin, not the end of ours
    except BaseException as error:
        raise ConfigError([_not_loaded(source, error)]) from error


def _not_loaded(source: PluginSource, error: BaseException) -> Problem:
    """Return what Python says of a plugin that cannot be imported, with the line of the author's file where it went wrong."""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    file, line = source.where, 0
    if isinstance(error, SyntaxError):
        file, line = error.filename or file, error.lineno or 0
        # str() of it ends in "(mine.py, line 3)", which stands in front already
        said = f"{type(error).__name__}: {error.msg}" + (f", in: {error.text.strip()}" if error.text else "")
    else:
        frames = traceback.extract_tb(error.__traceback__)
        # the last line of the plugin itself, if it got that far: what a library below it did is in `said`
        own = [frame for frame in frames if frame.filename == source.where] or frames[-1:]
        if own:
            file, line = own[-1].filename, own[-1].lineno or 0
    return Problem(file, line, "", f"plugin {source.name} cannot be loaded: {said}")


def _content(module: object, source: PluginSource) -> tuple[type[Plugin], list[BoundHook]]:
    """Return the plugin class, `Plugin` itself where there is none, and the hooks that are plain functions."""
    if isinstance(module, type):
        if not issubclass(module, Plugin):
            raise _error(source, f"{module.__name__} is not a subclass of upesi.plugin.Plugin")
        return module, []
    own = [
        value
        for value in vars(module).values()
        if getattr(value, "__module__", None) == getattr(module, "__name__", "")
    ]
    kinds = [value for value in own if isinstance(value, type) and issubclass(value, Plugin)]
    if len(kinds) > 1:
        names = ", ".join(kind.__name__ for kind in kinds)
        raise _error(source, f"it has several Plugin classes ({names}): one to a file, since they would share settings")
    functions = [value for value in own if not isinstance(value, type) and callable(value)]
    bound = [BoundHook(declaration, function) for function in functions for declaration in declarations_of(function)]
    return (kinds[0] if kinds else Plugin), bound


def _methods(plugin: Plugin) -> list[BoundHook]:
    return [
        BoundHook(declaration, getattr(plugin, name))
        for name, declared in _declared(type(plugin)).items()
        for declaration in declared
    ]


def _declared(kind: type[Plugin]) -> dict[str, tuple[Declaration, ...]]:
    """Return the hooks among the methods, by their names, those of base classes first.

    An overriding method keeps the place that the overridden one declared, unless it declares its own.
    """
    found: dict[str, tuple[Declaration, ...]] = {}
    for each in reversed(kind.__mro__):
        for name, value in vars(each).items():
            declared = declarations_of(value)
            if declared:
                found[name] = declared
    return found


def _asked(kind: type[Plugin], source: PluginSource) -> Iterator[str]:
    parameters = list(inspect.signature(kind).parameters.values())
    if not parameters:
        raise _error(source, f"{kind.__name__}.__init__ must take its settings")
    for parameter in parameters[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.name in SERVICES or parameter.default is parameter.empty:
            yield parameter.name


def _asked_by(bound: BoundHook) -> tuple[str, ...]:
    """Return the services that a function names behind the arguments of its hook."""
    parameters = inspect.signature(bound.function).parameters.values()
    own = len(POINTS[bound.declaration.point].arguments)
    return tuple(
        each.name
        for position, each in enumerate(parameters)
        if each.name in SERVICES
        and (each.kind is each.KEYWORD_ONLY or (each.kind is each.POSITIONAL_OR_KEYWORD and position >= own))
    )


def _check_arguments(bound: BoundHook, source: PluginSource, services: tuple[str, ...] = ()) -> None:
    arguments = POINTS[bound.declaration.point].arguments
    try:
        inspect.signature(bound.function).bind(*arguments, **dict.fromkeys(services))
    except TypeError as error:
        name = getattr(bound.function, "__name__", "hook")
        takes = f"({', '.join(arguments)})"
        raise _error(
            source, f"{name} cannot be called as a {bound.declaration.point} hook, with {takes}: {error}"
        ) from None


def _names_problems(
    loaded: list[LoadedPlugin], known: Mapping[str, object], enabled: tuple[str, ...]
) -> Iterator[Problem]:
    """Yield what is wrong with the names in after=, before= and requires=."""
    for plugin in loaded:
        required = set(plugin.requires)
        for bound in plugin.hooks:
            declaration = bound.declaration
            required |= set(declaration.requires)
            for key in ("after", "before"):
                for name in getattr(declaration, key):
                    if name not in known:
                        text = f"there is no plugin {name!r}{nearest(name, known)}"
                        yield Problem(plugin.file, 0, f"{plugin.name}: @hook.{declaration.point}({key}=)", text)
        for name in sorted(required - set(enabled)):
            close = get_close_matches(name, known, n=1)
            hint = f"add {name!r} to plugins.enabled" if name in known else f"did you mean {close[0]}?" if close else ""
            yield Problem(
                plugin.file, 0, f"{plugin.name}: requires", f"{name!r} is not enabled{', ' + hint if hint else ''}"
            )
