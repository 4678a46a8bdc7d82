"""`upesi init` and `upesi config`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from upesi.cli.options import configured, json_option, load_config
from upesi.cli.output import Output, patience
from upesi.config.problems import ConfigError, Problem
from upesi.config.settings import Config
from upesi.config.toml import as_toml

__all__ = ["config", "init"]


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--system", is_flag=True, help="For a service of the system: mail below /var/lib/upesi, user upesi, port 25."
)
def init(folder: Path, system: bool) -> None:
    """Write a commented configuration, upesi.toml, into the folder DIR, and make a folder for your own plugins beside it.

    Another one is for certificates; the first is self-signed: it encrypts, and proves nothing to anybody.

    With --system it fits packaging/systemd/upesi.service: `upesi init --system /etc/upesi`.
    """
    from upesi.config.defaults import first_text, machine_name, system_text

    file = folder / "upesi.toml"
    machine = machine_name()
    text = system_text(machine, str(folder.absolute())) if system else first_text(machine)
    (folder / "plugins").mkdir(parents=True, exist_ok=True)
    try:
        with file.open("x") as out:
            out.write(text)
    except FileExistsError:
        raise ConfigError([Problem(str(file), 0, "", "is there already; it was not touched")]) from None
    certificate = _begin_certificates(folder / "certificates", machine, system=system)
    serve = "systemctl enable --now upesi" if system else f"upesi serve -c {file}"
    click.echo(f"wrote {file}")
    if certificate is not None:
        click.secho(f"wrote {certificate}: a SELF-SIGNED certificate for {machine}.", bold=True)
        click.echo("It encrypts, and proves nothing to anybody: put a real one into that folder, and remove it.")
    click.echo(f"next: upesi config check -c {file} && {serve}")


def _begin_certificates(folder: Path, machine: str, *, system: bool) -> Path | None:
    """Put a self-signed certificate into a folder that is new, so that STARTTLS works at once; return its path."""
    import shutil

    from upesi.config.defaults import SYSTEM_USER
    from upesi.tls.selfsigned import self_signed

    try:
        folder.mkdir(mode=0o750)
    except FileExistsError:
        return None
    path = folder / "self-signed.pem"
    # nobody else can read it at any moment
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(self_signed(machine))
    if system and os.geteuid() == 0:
        for part in (folder, path):
            try:
                shutil.chown(part, group=SYSTEM_USER)
            except LookupError:
                click.echo(
                    f"there is no group {SYSTEM_USER} yet: chgrp -R {SYSTEM_USER} {folder} when there is", err=True
                )
                break
        path.chmod(0o640)
    return path


@click.group()
def config() -> None:
    """Check or show the configuration."""


@config.command(short_help="Say everything that is wrong with it and its plugins.")
@configured
@json_option
def check(config_path: Path | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Load the configuration with all plugins, as a start or a reload would, and say everything that is wrong. Changes nothing."""
    output = Output(as_json=as_json)
    warnings: Sequence[Problem] = ()
    try:
        # the values first: they are told with their lines, and plugins need them right
        load_config(config_path, overrides)
        with patience("loading plugins"):
            warnings = _load_plugins(config_path, overrides)
    except ConfigError as error:
        if not as_json:
            raise
        output.json({"valid": False, "problems": error.problems, "warnings": []})
        click.get_current_context().exit(1)
    for warning in warnings if not as_json else ():
        click.echo(f"warning: {warning}", err=True)
    output.say(
        f"{config_path or 'the zero configuration'}: no problems found",
        {"valid": True, "problems": [], "warnings": warnings},
    )


def _load_plugins(config_path: Path | None, overrides: tuple[str, ...]) -> Sequence[Problem]:
    from upesi.runtime.check import check as check_all

    settings, certificates = check_all(config_path, overrides)
    return [*settings, *certificates]


@config.command(short_help="Show every value in use, as TOML.")
@configured
@json_option
@click.option("--secrets", is_flag=True, help="Show values of keys that look like secrets, too.")
def show(config_path: Path | None, overrides: tuple[str, ...], as_json: bool, secrets: bool) -> None:
    """Show every value in use, defaults too, as TOML that could be a configuration file."""
    tree = _tree(load_config(config_path, overrides))
    if not secrets:
        tree = masked(tree)
    if as_json:
        Output(as_json=True).json(tree)
    else:
        click.echo(as_toml(tree), nl=False)


def _tree(config: Config) -> dict[str, object]:
    """Return the configuration as a file would have it: plugins' settings beside the keys of [plugins], units written out."""
    tree = msgspec.to_builtins(config, enc_hook=str)
    assert isinstance(tree, dict)
    plugins = tree["plugins"]
    tree["plugins"] = {"enabled": plugins["enabled"], "folder": plugins["folder"], **plugins["settings"]}
    return tree


_SECRET = ("password", "secret", "token", "credential", "api_key", "private_key")


def masked(value: object) -> dict[str, object]:
    """Return a table with the values of keys that look like secrets hidden (ADM-02: output ends up in tickets and terminals' logs)."""
    result = _masked(value, hidden=False)
    assert isinstance(result, dict)
    return result


def _masked(value: object, *, hidden: bool) -> object:
    if isinstance(value, dict):
        # below a key that looks like a secret, names are those of accounts
        return {name: _masked(item, hidden=hidden or _is_secret(str(name), item)) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_masked(item, hidden=hidden) for item in value]
    # yes and no are no secret; what keeps its type can be checked
    return "********" if value and hidden and not isinstance(value, bool) else value


def _is_secret(key: str, value: object = None) -> bool:
    # where a secret lies is none, and tables ([[credentials]]) have keys of their own that say what is secret
    tables = isinstance(value, (list, tuple)) and all(isinstance(item, dict) for item in value)
    return any(word in key.lower() for word in _SECRET) and not key.endswith("_file") and not tables
