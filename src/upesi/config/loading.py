"""From a TOML file and `--set` overrides to a checked `Config`, or to every mistake that could be found.

`msgspec.convert` stops at the first mistake; an operator wants them all at once. So the tree is walked here, table by table and element
by element, and only single values are converted. Cross checks (`checks.py`) run when every value has its type.
"""

from __future__ import annotations

import enum
import re
import tomllib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from upesi.config.checks import cross_check
from upesi.config.defaults import machine_name, zero_text
from upesi.config.lines import key_lines
from upesi.config.origin import Origin
from upesi.config.overrides import apply_override
from upesi.config.problems import ConfigError, KeyPath, Problem, nearest
from upesi.config.settings import (
    AuthSettings,
    Config,
    CredentialsSettings,
    DestinationSettings,
    ListenerSettings,
    PluginsSettings,
    RouteSettings,
)
from upesi.config.units import Duration, Rate, Size
from upesi.config.wording import NO_TOML

__all__ = ["ConfigError", "Problem", "complaint", "load", "not_a"]

S = TypeVar("S", bound=msgspec.Struct)

# a configuration is a page or two; this only keeps a wrong path (a log, a device) from filling the memory
_MAX_FILE = 4_000_000

_NAMES: Mapping[object, str] = {
    str: "text in quotes",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Duration: "a duration such as 30s, 5m, 4h or 5d",
    Size: "a size such as 100kB or 25MB",
    Rate: "a rate such as 600/1m, or none",
    tuple: "a list in [ ]",
    list: "a list in [ ]",
    dict: "a table",
}


def load(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Return the configuration in the file `path`, or the zero configuration, with `overrides` ("listener.0.port=25") on top.

    Relative paths in it are relative to the file's folder, without a file to the working directory; the result has only
    absolute ones. Raise ConfigError with everything that is wrong.
    """
    source = str(path) if path else "zero configuration"
    text = _read(path) if path else zero_text(machine_name())
    tree = _parse(text, source)
    origin = Origin(source, key_lines(text))
    walk = _Walk(origin)
    for override in overrides:
        key, problem = apply_override(tree, override, f"--set {override}")
        origin.overrides[key] = f"--set {override}"
        walk.problems += [problem] if problem else []
    config = walk.struct(Config, tree, ())
    if config is not None and not walk.problems:
        config = _completed(config, (path.parent if path else Path()).absolute())
        for key, what in cross_check(config):
            walk.report(key, what)
    if walk.problems or config is None:
        raise ConfigError(sorted(walk.problems))
    return config


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
        if len(data) > _MAX_FILE:
            raise ConfigError([Problem(str(path), 0, "", "is larger than 4 MB: that is no configuration")])
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(str(path), line, "", "is not UTF-8")]) from None
    except IsADirectoryError:
        raise ConfigError([Problem(str(path), 0, "", f"is a folder{_file_in(path)}")]) from None
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, "", f"cannot be read: {error.strerror}")]) from error


def _file_in(folder: Path) -> str:
    """Say which file in a folder may be meant."""
    try:
        found = sorted(folder.glob("*.toml"))
    except OSError:
        found = []
    usual = folder / "upesi.toml"
    if usual in found or len(found) == 1:
        return f"; the configuration in it is {usual if usual in found else found[0]}"
    return ", and there is no upesi.toml in it"


def _parse(text: str, source: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, line = _syntax(str(error), text)
        raise ConfigError([Problem(source, line, "", f"{NO_TOML}{what}")]) from None


# how the parser's own messages end; what it found at the end of the file has no number
_AT = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def _syntax(message: str, text: str) -> tuple[str, int]:
    """Return the parser's complaint without its place, and the line."""
    match = _AT.search(message)
    if match is None:
        return message, 0
    if match[1] is None:
        return f"{message[: match.start()]}, at the end of the file", max(1, len(text.splitlines()))
    return message[: match.start()], int(match[1])


class _Walk:
    """Builds structs from tables and collects what is wrong on the way."""

    __slots__ = ("_origin", "problems")

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self.problems: list[Problem] = []

    def report(self, path: KeyPath, text: str) -> None:
        """Note that the value at `path` is wrong."""
        self.problems.append(self._origin.problem(path, text))

    def struct(self, kind: type[S], value: object, path: KeyPath) -> S | None:
        """Return `value` as a `kind`; None, and problems, where that cannot be."""
        if not isinstance(value, dict):
            self.report(path, f"must be a table, not {_said(value)}")
            return None
        table = _plugins_table(value) if kind is PluginsSettings else value
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        before = len(self.problems)
        for name in table.keys() - fields.keys():
            what = "section" if isinstance(table[name], (dict, list)) and not path else "key"
            if kind is PluginsSettings:
                self.report((*path, name), "is neither a key of this section nor the table of a plugin's settings")
            else:
                self.report((*path, name), f"unknown {what}{nearest(name, fields)}")
        for name, field in fields.items():
            if field.required and name not in table:
                self.report((*path, name), "is missing")
        values = {
            field.name: self._value(field.type, table[name], (*path, name))
            for name, field in fields.items()
            if name in table
        }
        return kind(**values) if len(self.problems) == before else None

    def _value(self, kind: object, value: object, path: KeyPath) -> object:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self.struct(kind, value, path)
        if typing.get_origin(kind) is tuple:
            element = typing.get_args(kind)[0]
            if not isinstance(value, list):
                hint = " (a section that may be repeated: write [[...]])" if isinstance(value, dict) else ""
                self.report(path, f"must be {_NAMES[tuple]}, not {_said(value)}{hint}")
                return ()
            return tuple(self._value(element, item, (*path, index)) for index, item in enumerate(value))
        try:
            return msgspec.convert(value, cast("type[object]", kind), dec_hook=_units)
        except msgspec.ValidationError as error:
            self.report(path, complaint(kind, value, str(error)))
            return None


def _plugins_table(table: dict[str, object]) -> dict[str, object]:
    """Return `[plugins]` with the tables of single plugins gathered under `settings`."""
    own = {name: value for name, value in table.items() if not isinstance(value, dict)}
    settings = {name: value for name, value in table.items() if isinstance(value, dict)}
    return {**own, "settings": settings} if settings else own


def _units(kind: type, value: object) -> object:
    if kind is object:  # a plugin's own settings: the plugin checks them
        return value
    if kind is Duration and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return Duration(value)
    if kind is Size and isinstance(value, (str, int)) and not isinstance(value, bool):
        return Size(value)
    if kind is Rate and isinstance(value, str):
        return Rate(value)
    raise ValueError(not_a(kind, value))


def not_a(kind: type, value: object) -> str:
    """Say in an operator's words that `value` is no `kind`."""
    return f"must be {_NAMES.get(kind, kind.__name__)}, not {_said(value)}"


def _said(value: object) -> str:
    if isinstance(value, (dict, list)):
        return _NAMES[type(value)]
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def complaint(kind: object, value: object, error: str) -> str:
    """Put into words that `value` is no `kind`; `error` is what msgspec said, and is left to `wording` where nothing better is known."""
    if kind in (Duration, Size, Rate):
        return error
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return f"{_said(value)} is not valid{nearest(str(value), [member.value for member in kind])}"
    if typing.get_origin(kind) is typing.Literal:
        return f"{_said(value)} is not valid{nearest(str(value), map(str, typing.get_args(kind)))}"
    return not_a(kind, value) if isinstance(kind, type) and kind in _NAMES else error


def _completed(config: Config, folder: Path) -> Config:
    """Return `config` with absolute paths, and with what depends on the machine or on other sections filled in."""
    replace = msgspec.structs.replace
    spool = replace(config.spool, path=_absolute(config.spool.path, folder))
    socket = config.control.socket
    return replace(
        config,
        node=replace(config.node, name=config.node.name or machine_name()),
        spool=spool,
        listener=tuple(_absolute_listener(listener, folder) for listener in config.listener),
        tls=replace(config.tls, certificates=_absolute(config.tls.certificates, folder)),
        auth=_absolute_auth(config.auth, folder),
        plugins=replace(config.plugins, folder=_absolute(config.plugins.folder, folder)),
        route=tuple(_absolute_route(route, folder) for route in config.route),
        destination=tuple(_absolute_destination(destination, folder) for destination in config.destination),
        delivery=replace(
            config.delivery,
            smarthost_password_file=_absolute_if(config.delivery.smarthost_password_file, folder),
        ),
        credentials=tuple(_absolute_credentials(table, folder) for table in config.credentials),
        log=replace(config.log, file=config.log.file and _absolute(config.log.file, folder)),
        control=replace(config.control, socket=_absolute(socket or f"{spool.path}/control.sock", folder)),
    )


def _absolute(path: str, folder: Path) -> str:
    # joined, not resolved: a symbolic link in the path stays what the operator wrote
    return str(folder / path)


def _absolute_auth(auth: AuthSettings, folder: Path) -> AuthSettings:
    secret = auth.oauth.client_secret_file
    return msgspec.structs.replace(
        auth,
        sender_map=auth.sender_map and _absolute(auth.sender_map, folder),
        oauth=msgspec.structs.replace(auth.oauth, client_secret_file=secret and _absolute(secret, folder)),
    )


def _absolute_listener(listener: ListenerSettings, folder: Path) -> ListenerSettings:
    certificates, authorities = listener.certificates, listener.client_authorities
    return msgspec.structs.replace(
        listener,
        certificates=certificates and _absolute(certificates, folder),
        client_authorities=authorities and _absolute(authorities, folder),
    )


def _absolute_credentials(table: CredentialsSettings, folder: Path) -> CredentialsSettings:
    scheme, colon, path = table.source.partition(":")
    local = scheme in ("file", "sqlite") and path
    return msgspec.structs.replace(
        table,
        source=f"{scheme}{colon}{_absolute(path, folder)}" if local else table.source,
        secret_file=table.secret_file and _absolute(table.secret_file, folder),
        ca_file=table.ca_file and _absolute(table.ca_file, folder),
    )


def _absolute_if(path: str, folder: Path) -> str:
    return path and _absolute(path, folder)


def _absolute_route(route: RouteSettings, folder: Path) -> RouteSettings:
    scheme, colon, path = route.to.partition(":")
    to = f"maildir:{_absolute(path, folder)}" if scheme == "maildir" and colon and path else route.to
    return msgspec.structs.replace(route, to=to, password_file=_absolute_if(route.password_file, folder))


def _absolute_destination(destination: DestinationSettings, folder: Path) -> DestinationSettings:
    return msgspec.structs.replace(
        destination,
        tls_authorities=_absolute_if(destination.tls_authorities, folder),
        tls_certificate=_absolute_if(destination.tls_certificate, folder),
    )
