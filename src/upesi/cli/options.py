"""Options that several commands share: which configuration, which output, which messages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

from upesi.config.settings import Config
from upesi.config.units import Duration

__all__ = ["configured", "json_option", "load_config", "selected"]

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
    """Add --json: the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def load_config(path: Path | None, overrides: tuple[str, ...]) -> Config:
    """Load the configuration; raise ConfigError."""
    from upesi.config.loading import load

    return load(path, overrides)


# names as the spool's Selector has them
_SELECTORS = (
    click.option("--id", "message", metavar="ID", help="The message with this id."),
    click.option("--sender", metavar="ADDRESS", help='The reverse-path; "<>" for bounces.'),
    click.option("--recipient", metavar="ADDRESS", help="A recipient."),
    click.option("--domain", metavar="DOMAIN", help="The domain of a recipient."),
    click.option("--queue", metavar="KEY", help="A queue that `upesi queue summary` shows."),
    click.option("--older-than", type=DurationOption(), metavar="DURATION", help="Received longer ago than this."),
    click.option("--younger-than", type=DurationOption(), metavar="DURATION", help="Received within this time."),
    click.option("--state", type=click.Choice(["routing", "ready", "active", "held"]), help="In this state."),
)


def selected(function: Callable[P, R]) -> Callable[P, R]:
    """Add the options that choose messages."""
    for option in reversed(_SELECTORS):
        function = option(function)
    return function
