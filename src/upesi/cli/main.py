"""The `upesi` command. Only what is asked for is imported: `upesi --help` and shell completion answer in a tenth of a second.

Exit codes: 0 done, 1 it could not be done (the reason and what to do next are on standard error), 2 the command was written wrongly.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType

import click

from upesi import __version__

__all__ = ["LazyGroup", "main"]

# name: (module and object, one line for --help): what `upesi --help` needs without importing any of them
_COMMANDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "serve": ("upesi.cli.serve:serve", "Run the server in the foreground."),
        "init": ("upesi.cli.configuration:init", "Write a commented configuration to start from."),
        "config": ("upesi.cli.configuration:config", "Check or show the configuration."),
        "status": ("upesi.cli.server:status", "Show how the running server is doing."),
        "queue": ("upesi.cli.queue:queue", "Look at queued mail, and hold, release, retry or cancel it."),
        "trace": ("upesi.cli.server:trace", "Show everything that happened to a message."),
        "reload": ("upesi.cli.server:reload", "Have the server take over its changed configuration and plugins."),
        "stop": ("upesi.cli.server:stop", "Have the server finish what it holds, and end."),
        "quarantine": (
            "upesi.cli.quarantine:quarantine",
            "Look at damaged mail, and release or delete it.",
        ),
        "passwd": ("upesi.cli.passwd:passwd", "Add, change, verify or remove an account in a file of passwords."),
        "dkim": ("upesi.cli.dkim:dkim", "Make keys that sign mail, and show their DNS records."),
        "plugins": ("upesi.cli.plugins:plugins", "List, order, write and try plugins."),
        "version": ("upesi.cli.version:version", "Show the version of this program and of what it runs on."),
    }
)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which one needs them, not the alphabet's."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve as click does, and name the nearest command where there is none of this name: click knows only imported ones."""
        if args[0] not in _COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            from upesi.config.problems import nearest

            ctx.fail(f"no such command {args[0]!r}{nearest(args[0], _COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, message="upesi %(version)s")
def upesi() -> None:
    """Upesi, a mail transfer agent.

    `upesi serve` runs a server at once, on 127.0.0.1:2525, kept in ./var. `upesi init DIR` writes a configuration to start from.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    from upesi.cli.failures import run

    run(upesi, arguments)
