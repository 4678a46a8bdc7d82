"""How the command line ends: what went wrong in one line each, what to do next, and an exit code that scripts can use."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import MappingProxyType

import click

from upesi.mail.errors import UpesiError

__all__ = ["run"]

# class name: what to do next. By name, so that a command that cannot fail so need not import it
_NEXT: Mapping[str, str] = MappingProxyType(
    {
        "ServerDown": "start it with `upesi serve`, or name its configuration with -c FILE",
        "RequestTimeout": "the server may be busy: `upesi status` shows its workers, its log says more",
        "FrameError": "restart the server, or use the command line of its version",
        "SpoolLocked": "a server runs with this spool: give the configuration that it runs with (-c FILE)",
        "ControlInUse": "stop that server first (`upesi stop`), or give this one a spool of its own (--set spool.path=...)",
        "TargetUnreadable": "nothing was done, and a running server goes on unchanged; mend it, or name that server's socket: "
        "--socket PATH (control.sock in the folder of its spool)",
        "ConfigError": "docs/reference/configuration.md lists every key, the README.md of a plugin those of its table",
    }
)
_ERRNO_NEXT = "check who owns the file; the server's own user and root may use its control socket and spool"


def run(command: click.Command, arguments: list[str] | None = None) -> None:
    """Run `command` and exit: 0, 1 for what could not be done, 2 for a wrong command line, 130 when interrupted."""
    try:
        code = _code(command, sys.argv[1:] if arguments is None else arguments)
    except BrokenPipeError:
        # `upesi queue list | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


def _code(command: click.Command, arguments: list[str]) -> int:
    try:
        code = command.main(arguments, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        # a group without a command: its help is the answer
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    except BrokenPipeError:
        raise
    except (click.ClickException, UpesiError, OSError) as error:
        if "--json" in arguments:
            # on standard output, for whoever reads JSON; a person reads the same below
            from upesi.cli.output import Output

            Output(as_json=True).json({"error": _reason(error)})
        if isinstance(error, click.ClickException):
            _usage(error)
        _say(_reason(error), _next(error))
        return error.exit_code if isinstance(error, click.ClickException) else 1


def _reason(error: click.ClickException | UpesiError | OSError) -> str:
    """Return what went wrong, without a prefix."""
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _usage(error: click.ClickException) -> None:
    """Say how a command is written, where it was written wrongly, as click would."""
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return
    click.echo(error.ctx.get_usage(), err=True)
    if names := error.ctx.help_option_names:
        click.echo(f"Try `{error.ctx.command_path} {names[-1]}` for help.", err=True)


def _next(error: click.ClickException | UpesiError | OSError) -> str:
    if isinstance(error, OSError):
        return _ERRNO_NEXT if isinstance(error, PermissionError) else ""
    problems = getattr(error, "problems", ())
    if problems and all(problem.source.endswith(".py") for problem in problems):
        # a mistake in a plugin's code: no page about keys helps, and the message has the file, the line and Python's words
        return "nothing else was done; mend the plugin and try again"
    if problems and not any(problem.key for problem in problems) and type(error).__name__ == "ConfigError":
        # the file as a whole: it is not there, or it is not TOML
        return (
            "`upesi init DIR` writes a configuration to start from"
            if isinstance(error.__cause__, FileNotFoundError)
            else ""
        )
    for kind in type(error).__mro__:
        if kind.__name__ in _NEXT:
            return _NEXT[kind.__name__]
    return ""


def _say(text: str, hint: str) -> None:
    for line in text.splitlines() or ["failed"]:
        click.echo(f"upesi: {line}", err=True)
    if hint:
        click.echo(f"upesi: {hint}", err=True)
