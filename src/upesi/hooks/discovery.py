"""Which plugins there are: bundled ones, installed ones (entry point group `upesi.plugins`), and the operator's files.

Finding them imports nothing, so that `upesi plugins list` and messages about misspelt names run no plugin's code. Loading is meant to
happen once in a fresh process: changed code is picked up because the process is new, not by tricks with modules.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from hashlib import blake2b
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

import msgspec

__all__ = ["GROUP", "PluginSource", "file_source", "find_plugins"]

GROUP = "upesi.plugins"
_BUNDLED = "upesi.plugins"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class PluginSource(msgspec.Struct, frozen=True):
    """One plugin that can be enabled. `kind` is bundled, installed or file; `where` its file or its package and object."""

    name: str
    kind: str
    where: str
    load: Callable[[], object]


def find_plugins(folder: Path | None) -> dict[str, tuple[PluginSource, ...]]:
    """Return every plugin by name; more than one for a name is an error only if that name is enabled.

    A folder that does not exist holds no plugins: the default one need not be made.
    """
    found: dict[str, tuple[PluginSource, ...]] = {}
    for source in (*_files(folder), *_installed(), *_bundled()):
        found[source.name] = (*found.get(source.name, ()), source)
    return found


def _bundled() -> list[PluginSource]:
    spec = importlib.util.find_spec(_BUNDLED)
    folders = spec.submodule_search_locations if spec is not None and spec.submodule_search_locations else []
    return [
        PluginSource(path.parent.name, "bundled", str(path), _importer(f"{_BUNDLED}.{path.parent.name}.plugin"))
        for folder in folders
        for path in sorted(Path(folder).glob("*/plugin.py"))
    ]


def _importer(module: str) -> Callable[[], object]:
    return lambda: importlib.import_module(module)


def _installed() -> list[PluginSource]:
    return [_entry(point) for point in entry_points(group=GROUP)]


def _entry(point: EntryPoint) -> PluginSource:
    package = point.dist.name if point.dist is not None else ""
    return PluginSource(point.name, "installed", f"{point.value} ({package})" if package else point.value, point.load)


def _files(folder: Path | None) -> list[PluginSource]:
    if folder is None or not folder.is_dir():
        return []
    # a name beginning with "_" is a module that plugins share, not one of them
    return [file_source(path) for path in sorted(folder.glob("*.py")) if _NAME.fullmatch(path.stem)]


def file_source(path: Path) -> PluginSource:
    """Return the plugin in one file, whatever folder it is in."""
    return PluginSource(path.stem, "file", str(path), _file_loader(path))


def _file_loader(path: Path) -> Callable[[], object]:
    def load() -> ModuleType:
        # a name of its own: plugins/email.py must not become the `email` that everybody else imports
        name = f"{_package(path.parent)}.{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        # type hints of its settings are looked up there
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    return load


def _package(folder: Path) -> str:
    """Return the package that the files of a folder are in, so that they can share modules: `from ._shared import ...`."""
    name = "_upesi_plugins_" + blake2b(str(folder.absolute()).encode(), digest_size=8).hexdigest()
    if name not in sys.modules:
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    return name
