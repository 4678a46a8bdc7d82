"""`upesi version`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

import click

from upesi.cli.options import json_option
from upesi.cli.output import Output
from upesi.protocol.smtp import buffer

__all__ = ["version"]

_PARTS = ("uvloop", "msgspec", "apsw", "dnspython")


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Show the version of this program and of what it runs on."""
    parts = {name: _installed(name) for name in ("upesi", *_PARTS)}
    modules = "compiled" if buffer.__file__.endswith(".so") else "plain Python"
    system = {"python": platform.python_version(), "system": platform.platform()}
    Output(as_json=as_json).fields({**parts, "modules": modules, **system})


def _installed(name: str) -> str | None:
    try:
        return installed(name)
    except PackageNotFoundError:
        return None
