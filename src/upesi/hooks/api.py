"""The version of what plugins import, and how something leaves it.

A plugin may say for which version it was written: `api = "1.0"` in its file, or in its class. The rule: the first number changes when
something that plugins use goes away or means something else, the second when something is added. Nothing goes away at once: for one release
at least it is deprecated, works, and each plugin that uses it is named in the log (`plugin.deprecated`).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

__all__ = ["API_VERSION", "DEPRECATED", "Deprecated", "api_problem", "deprecated"]

API_VERSION = "1.0"

_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})")


class Deprecated(msgspec.Struct, frozen=True):
    """A name of `upesi.plugin` that will go away: since when it is deprecated, the version that will not have it, and what to use."""

    value: object
    since: str
    gone: str
    instead: str


# names of `upesi.plugin` on their way out; none so far
DEPRECATED: Mapping[str, Deprecated] = MappingProxyType({})


def deprecated(name: str) -> object:
    """Return what the deprecated `name` stands for, with a DeprecationWarning; raise AttributeError where there is none."""
    entry = DEPRECATED.get(name)
    if entry is None:
        raise AttributeError(f"module 'upesi.plugin' has no attribute {name!r}")
    text = f"upesi.plugin.{name} is deprecated since {entry.since} and goes away with {entry.gone}: use {entry.instead}"
    warnings.warn(text, DeprecationWarning, stacklevel=3)
    return entry.value


def api_problem(asked: object, version: str = API_VERSION) -> str:
    """Say why a plugin that asks for the API `asked` cannot run with `version`, empty where it can."""
    wanted, ours = _VERSION.fullmatch(asked) if isinstance(asked, str) else None, _VERSION.fullmatch(version)
    if wanted is None or ours is None:
        return f'api must be a version in quotes, such as "{version}"'
    if int(wanted[1]) != int(ours[1]) or int(wanted[2]) > int(ours[2]):
        return f"it is written for version {asked} of the plugin API; this server has {version}"
    return ""
