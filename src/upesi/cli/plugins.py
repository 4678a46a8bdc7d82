"""`upesi plugins`: what there is, in which order it runs, a beginning for a new one, and a trial without a server."""

from __future__ import annotations

from pathlib import Path

import click

from upesi.cli.options import configured, json_option, load_config
from upesi.cli.output import Output, age

__all__ = ["plugins"]


@click.group()
def plugins() -> None:
    """List, order, write and try plugins."""


@plugins.command("list")
@configured
@json_option
def list_(config_path: Path | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """List the plugins that there are: bundled, installed, and files of your own; the enabled ones first."""
    from upesi.hooks.describe import plugin_rows

    found = list(plugin_rows(load_config(config_path, overrides).plugins))
    rows = [[row.name, row.enabled, row.kind, row.summary] for row in found]
    Output(as_json=as_json).table(["plugin", "enabled", "kind", "what it does"], rows, found)


@plugins.command()
@configured
@json_option
@click.option("--hook", "point", metavar="NAME", help="Only this hook (connect, mail, rcpt, message, ...).")
def order(config_path: Path | None, overrides: tuple[str, ...], as_json: bool, point: str | None) -> None:
    """Show in which order the hooks of the enabled plugins run, with their deadlines and what a failure means."""
    from upesi.hooks.describe import order_rows
    from upesi.runtime.wiring import build_hooks

    hooks = build_hooks(load_config(config_path, overrides))
    found = [row for row in order_rows(hooks) if point in (None, row.point)]
    rows = [
        [
            row.point,
            row.position,
            row.plugin,
            row.function,
            "inline" if row.deadline is None else age(row.deadline),
            row.on_error,
            "mandatory" if row.mandatory else None,
        ]
        for row in found
    ]
    Output(as_json=as_json).table(["hook", "#", "plugin", "function", "deadline", "on error", "runs"], rows, found)


@plugins.command()
@configured
@click.argument("name")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Where to; without it plugins.folder.")
def new(config_path: Path | None, overrides: tuple[str, ...], name: str, folder: Path | None) -> None:
    """Write the beginnings of a plugin called NAME, and of its test, into the plugins' folder."""
    from upesi.hooks.scaffold import ScaffoldError, scaffold

    try:
        plugin, test = scaffold(name, folder or Path(load_config(config_path, overrides).plugins.folder))
    except ScaffoldError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"wrote {plugin}\nwrote {test}")
    click.echo(f"next: write it, try it with `python -m pytest {test}`, and add {name!r} to plugins.enabled")
