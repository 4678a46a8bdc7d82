"""`python -m upesi.runtime.check`: load a configuration with its plugins in a process of its own, and say what is wrong.

The supervisor runs this before a start and before a reload, so that nothing of a bad configuration, or of plugin
code that hangs or crashes while
it is loaded, ever reaches the running server.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from upesi.config.doubts import doubts
from upesi.config.loading import load
from upesi.config.origin import Origin
from upesi.config.problems import ConfigError, Problem
from upesi.mail.errors import UpesiError
from upesi.runtime.readable import unknown_user

__all__ = ["CheckFailed", "Doubted", "check", "check_in_child"]

# loading plugins reads files and tables; what takes longer than this hangs
_DEADLINE = 60.0
_OF_SETTINGS, _OF_CERTIFICATES = "warning: ", "warning of a certificate: "
# of one check, that are told: a configuration that draws more has one cause for them
_TOLD = 50


class CheckFailed(UpesiError):
    """The configuration cannot be used; the text says why, line by line."""


class Doubted(NamedTuple):
    """Warnings: of settings, and of the certificates that they name, of which workers write events themselves (`tls.warned`)."""

    settings: list[str]
    certificates: list[str]


def check(path: Path | None, overrides: Sequence[str]) -> tuple[list[Problem], list[Problem]]:
    """Load everything that a worker would load; return what is doubtful in settings and of certificates; raise UpesiError."""
    from upesi.runtime.accounts import check_accounts
    from upesi.runtime.authentication import sender_rules
    from upesi.runtime.places import check_spool
    from upesi.runtime.security import check_security
    from upesi.runtime.sending import check_sending
    from upesi.runtime.wiring import build_hooks, build_routes

    config = load(path, overrides)
    origin = Origin.of(path, overrides)
    try:
        unwritable = list(check_spool(Path(config.spool.path)))
        build_routes(config)
        hooks = build_hooks(config, path)
        sender_rules(config.auth)
        check_accounts(config)
        check_sending(config)
        doubted = doubts(config, origin, judged_by_plugins=bool(hooks.auth.hooks))
        settings = [*unwritable, *unknown_user(config.node.user), *doubted]
        return list(map(origin.located, settings)), list(map(origin.located, check_security(config)))
    except ConfigError as error:
        raise ConfigError([origin.located(problem) for problem in error.problems]) from error


async def check_in_child(path: Path | None, overrides: Sequence[str]) -> Doubted:
    """Run `check` in a fresh process and return its first warnings; raise CheckFailed with what it said."""
    arguments = [sys.executable, "-m", "upesi.runtime.check", str(path or ""), *overrides]
    process = await asyncio.create_subprocess_exec(
        *arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), _DEADLINE)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise CheckFailed(f"loading the configuration and its plugins took longer than {_DEADLINE:g} s") from None
    if process.returncode != 0:
        raise CheckFailed(said.decode(errors="replace").strip()[-8000:] or f"the check ended with {process.returncode}")
    lines = said.decode(errors="replace").splitlines()
    return Doubted(_behind(_OF_SETTINGS, lines), _behind(_OF_CERTIFICATES, lines))


def _behind(label: str, lines: Sequence[str]) -> list[str]:
    return [line.removeprefix(label)[:1000] for line in lines if line.startswith(label)][:_TOLD]


def main() -> int:
    """Check what the arguments name: PATH (or empty), then overrides."""
    path, *overrides = sys.argv[1:]
    try:
        settings, certificates = check(Path(path) if path else None, overrides)
    except UpesiError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for label, warnings in ((_OF_SETTINGS, settings), (_OF_CERTIFICATES, certificates)):
        for warning in warnings:
            sys.stderr.write(f"{label}{warning}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
