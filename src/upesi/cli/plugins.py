"""`upesi plugins`: what there is, in which order it runs, a beginning for a new one, and a trial without a server."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import BinaryIO

import click

from upesi.cli.options import configured, json_option, load_config
from upesi.cli.output import Output, age
from upesi.mail.reply import printable

__all__ = ["plugins"]


@click.group()
def plugins() -> None:
    """List, order, write and try plugins."""


@plugins.command("list", short_help="List the plugins that there are.")
@configured
@json_option
def list_(config_path: Path | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """List the plugins that there are: bundled, installed, and files of your own; the enabled ones first."""
    from upesi.hooks.describe import plugin_rows

    found = list(plugin_rows(load_config(config_path, overrides).plugins))
    rows = [
        [row.name, row.enabled, row.kind, f"CANNOT BE LOADED: {row.broken}" if row.broken else row.summary]
        for row in found
    ]
    Output(as_json=as_json).table(["plugin", "enabled", "kind", "what it does"], rows, found)


@plugins.command(short_help="Show in which order hooks run.")
@configured
@json_option
@click.option("--hook", "point", metavar="NAME", help="Only this hook (connect, mail, rcpt, message, ...).")
def order(config_path: Path | None, overrides: tuple[str, ...], as_json: bool, point: str | None) -> None:
    """Show in which order the hooks of the enabled plugins run, with their deadlines and what a failure means."""
    from upesi.config.problems import nearest
    from upesi.hooks.describe import order_rows
    from upesi.hooks.points import POINTS
    from upesi.runtime.wiring import build_hooks

    if point is not None and point not in POINTS:
        raise click.BadParameter(f"there is no hook {point!r}{nearest(point, POINTS)}", param_hint="--hook")
    hooks = build_hooks(load_config(config_path, overrides), config_path)
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


@plugins.command(short_help="Write the beginnings of a plugin and of its test.")
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
    # the Python that has upesi, which is seldom the `python` of a shell
    trial = shlex.join((sys.executable, "-m", "pytest", str(test)))
    click.echo(f"next: write it, try it with `{trial}`, and add {name!r} to plugins.enabled")


@plugins.command("doc", short_help="Show what a plugin does, its settings and its hooks.")
@configured
@json_option
@click.argument("name")
def doc_(config_path: Path | None, overrides: tuple[str, ...], as_json: bool, name: str) -> None:
    """Show what the plugin NAME is for, its settings, its hooks and the services that it needs; it need not be enabled."""
    from upesi.hooks.document import plugin_doc

    found = plugin_doc(load_config(config_path, overrides).plugins, name)
    output = Output(as_json=as_json)
    if as_json:
        output.say("", found)
        return
    click.echo(f"{name} ({found.kind}: {found.where})\n\n{found.readme}\n")
    hooks = [
        [hook.point, hook.function, hook.summary, " ".join(hook.after), " ".join(hook.before)] for hook in found.hooks
    ]
    settings = [
        [setting.key, setting.type, "must be given" if setting.required else setting.default, setting.meaning]
        for setting in found.settings
    ]
    click.echo(f"Settings, in [plugins.{name}]:")
    output.table(["key", "type", "default", "meaning"], settings, found.settings)
    click.echo("\nHooks:")
    output.table(["hook", "function", "what it does", "after", "before"], hooks, found.hooks)
    click.echo(f"\nServices: {', '.join(found.services) or 'none'}")


@plugins.command("test", short_help="Run a plugin through one session, without a server.")
@configured
@json_option
@click.argument("name")
@click.argument("file", metavar="[FILE.eml]", required=False, type=click.File("rb"))
@click.option("--ip", default="192.0.2.1", show_default=True, help="The client's address.")
@click.option("--hostname", help="The client's name, as DNS would say it.")
@click.option("--helo", default="client.example", show_default=True, help="What the client calls itself.")
@click.option(
    "--from",
    "sender",
    default="sender@example.com",
    show_default=True,
    help='The reverse-path; "<>" or empty for a bounce.',
)
@click.option(
    "--to",
    "recipients",
    multiple=True,
    default=["recipient@example.org"],
    show_default=True,
    help="A recipient; may be given several times.",
)
@click.option(
    "--relay/--no-relay", default=True, show_default=True, help="Take recipients that the plugin does not vote for."
)
def test(
    config_path: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
    name: str,
    file: BinaryIO | None,
    ip: str,
    hostname: str | None,
    helo: str,
    sender: str,
    recipients: tuple[str, ...],
    relay: bool,
) -> None:
    """Run the plugin NAME alone through one session, without a server, and show its verdicts, results and changes.

    Without FILE.eml it ends at RCPT. Recipients that the plugin does not vote for are taken as from a client that may relay, so that the
    message is reached; --no-relay shows what a stranger gets where no other plugin votes.

    Exit code 0 says that the message would have been accepted (without a FILE.eml: a recipient), 1 that it was refused.
    """
    from upesi.cli.submission import crlf
    from upesi.testkit.trial import try_plugin

    _check_ip(ip)
    for option, values in (("--from", (sender,) if sender not in ("", "<>") else ()), ("--to", recipients)):
        for value in values:
            _check_address(option, value)
    config = load_config(config_path, overrides)
    content = crlf(file.read()) if file is not None else None
    accepted, report = try_plugin(
        name,
        config.plugins,
        ip=ip,
        helo=helo,
        sender=sender,
        recipients=recipients,
        content=content,
        source=str(config_path or "zero configuration"),
        folder=config_path.parent if config_path else None,
        hostname=hostname,
        relay=relay,
    )
    output = Output(as_json=as_json)
    output.say("\n".join(printable(line, 2048) for line in report), {"accepted": accepted, "report": report})
    click.get_current_context().exit(0 if accepted else 1)


def _check_ip(value: str) -> None:
    """Raise UsageError where `value` is no address that a client can have."""
    from ipaddress import ip_address

    try:
        ip_address(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is no IP address such as 192.0.2.1 or 2001:db8::1", param_hint="--ip"
        ) from None


def _check_address(option: str, value: str) -> None:
    """Raise UsageError, naming both, where `value` is no address as a session would take it."""
    from upesi.mail.address import Address, AddressError

    if option == "--to" and value.lower() == "postmaster":
        return
    try:
        Address.parse(value, utf8=option == "--to")
    except AddressError as error:
        raise click.BadParameter(f"{value!r} is no address: {error}", param_hint=option) from None
