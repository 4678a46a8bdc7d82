"""Options that several commands share: which configuration, which server, which output, which messages."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import click

from upesi.config.problems import ConfigError
from upesi.config.settings import Config
from upesi.config.units import Duration

__all__ = ["Target", "about_one", "configured", "json_option", "load_config", "selected", "targeted"]

P = ParamSpec("P")
R = TypeVar("R")


class DurationOption(click.ParamType[float]):
    """A duration on the command line: 30s, 5m, 4h, 5d."""

    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        try:
            return float(Duration(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def configured(function: Callable[P, R]) -> Callable[P, R]:
    """Add -c and --set: the arguments `config_path` and `overrides`."""
    function = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set one value on top of the file (spool.path=/tmp/x).",
    )(function)
    return click.option(
        "-c", "--config", "config_path", type=click.Path(path_type=Path), envvar="UPESI_CONFIG", metavar="FILE",
        help="The configuration; without it UPESI_CONFIG, else the zero configuration.",
    )(function)  # fmt: skip


def json_option(function: Callable[P, R]) -> Callable[P, R]:
    """Add --json: the argument `as_json`. What cannot be done is JSON, too, then: see `upesi.cli.failures`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def load_config(path: Path | None, overrides: tuple[str, ...]) -> Config:
    """Load the configuration; raise ConfigError."""
    from upesi.config.loading import load

    return load(path, overrides)


# of which the place of the control socket comes
_PLACES = ("spool.path", "control.socket")


class TargetUnreadable(ConfigError):
    """The configuration that says where the server is cannot be used."""


class Target:
    """Which server a command means: the one of a configuration, or the one behind a socket that was named.

    A configuration is read when it is needed: a running server can be asked, and stopped, while its file is being edited.
    """

    __slots__ = ("_config", "_overrides", "_path", "named")

    def __init__(self, path: Path | None, overrides: tuple[str, ...], named: str = "") -> None:
        """`named` is the socket that was given with --socket, empty where none was."""
        self._path = path
        self._overrides = overrides
        self._config: Config | None = None
        self.named = named

    @property
    def config(self) -> Config:
        """The configuration; raise TargetUnreadable."""
        if self._config is None:
            try:
                self._config = load_config(self._path, self._overrides)
            except ConfigError as error:
                raise TargetUnreadable(error.problems) from None
        return self._config

    @property
    def changes(self) -> tuple[str, ...]:
        """What --set said beyond which server is meant."""
        return tuple(each for each in self._overrides if each.partition("=")[0].strip() not in _PLACES)

    @property
    def socket(self) -> str:
        """The control socket; raise TargetUnreadable."""
        return self.named or self.config.control.socket


def targeted(function: Callable[Concatenate[Target, P], R]) -> Callable[P, R]:
    """Add -c, --set and --socket: one first argument, the `Target`."""

    # click finds options on the function, wherever in the chain they were added
    @configured
    @click.option(
        "--socket", metavar="PATH", default="", help="The server's control socket, instead of a configuration."
    )
    @functools.wraps(function)
    def command(*args: P.args, **kwargs: P.kwargs) -> R:
        path, overrides, socket = (kwargs.pop(name) for name in ("config_path", "overrides", "socket"))
        assert path is None or isinstance(path, Path)
        assert isinstance(overrides, tuple)
        return function(Target(path, overrides, str(socket)), *args, **kwargs)

    return command


def about_one(function: Callable[Concatenate[Target, P], R]) -> Callable[P, R]:
    """Make a command about one message: the `Target`, `as_json`, and the argument `id`."""
    return targeted(json_option(click.argument("id")(function)))


# names as the spool's Selector has them
_SELECTORS = (
    click.option("--id", "message", metavar="ID", help="The message with this id."),
    click.option("--sender", metavar="ADDRESS", help='The reverse-path; "<>" for bounces.'),
    click.option("--recipient", metavar="ADDRESS", help="A recipient."),
    click.option("--domain", metavar="DOMAIN", help="The domain of a recipient."),
    click.option("--queue", metavar="KEY", help="A queue that `upesi queue summary` shows."),
    click.option("--older-than", type=DurationOption(), metavar="DURATION", help="Received longer ago than this."),
    click.option("--younger-than", type=DurationOption(), metavar="DURATION", help="Received within this time."),
    click.option("--tenant", metavar="LABEL", help="Labelled so by a plugin."),
    click.option("--campaign", metavar="LABEL", help="Labelled so by a plugin."),
    click.option("--pool", metavar="LABEL", help="Labelled so by a plugin."),
    click.option("--state", type=click.Choice(["routing", "ready", "active", "held"]), help="In this state."),
)


def selected(function: Callable[P, R]) -> Callable[P, R]:
    """Add the options that choose messages."""
    for option in reversed(_SELECTORS):
        function = option(function)
    return function
