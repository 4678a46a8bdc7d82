"""`upesi serve`: from a configuration to a running supervisor."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from upesi.config.loading import load
from upesi.config.settings import Config, LogSettings
from upesi.mail.errors import UpesiError
from upesi.observe.events import Events
from upesi.observe.setup import make_events
from upesi.runtime.check import check_in_child
from upesi.runtime.limits import raise_file_limit
from upesi.runtime.supervisor import StartFailed, Supervisor
from upesi.spool.admin import SpoolAdmin
from upesi.spool.store import SpoolLocked

__all__ = ["serve"]

_RUNNING = "a server runs already. See it with `upesi status`, stop it with `upesi stop`, or give this one its own --set spool.path=FOLDER"


def serve(path: Path | None, overrides: tuple[str, ...] = ()) -> int:
    """Run the server until it is told to stop; return the exit status: 0 after a drain, 1 where it could not start (said on stderr)."""
    try:
        return asyncio.run(_serve(path, overrides))
    except SpoolLocked as error:
        sys.stderr.write(f"upesi: {error}: {_RUNNING}\n")
        return 1
    except UpesiError as error:
        sys.stderr.write(f"upesi: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


async def _serve(path: Path | None, overrides: tuple[str, ...]) -> int:
    config = load(path, overrides)
    doubted = await check_in_child(path, overrides)
    if config.log.file:
        # else events on standard error say the same
        for warning in (*doubted.settings, *doubted.certificates):
            sys.stderr.write(f"upesi: warning: {warning}\n")
    raise_file_limit()
    admin = SpoolAdmin.open_or_create(config.spool, owner=config.node.user)
    try:
        supervisor = Supervisor(path, overrides, config, admin, _log_maker(asyncio.get_running_loop()))
    except OSError as error:
        admin.close()
        raise StartFailed(f"log.file cannot be opened: {error.strerror}: {config.log.file}") from error
    try:
        supervisor.doubt(doubted)
        started = await supervisor.start()
    except BaseException:
        await supervisor.abandon()
        raise
    if started and path is None:
        _greet(config, supervisor.addresses)
    # what start-up needed is not needed again: this process should stay small
    gc.collect()
    gc.freeze()
    await supervisor.run()
    return 0


def _log_maker(loop: asyncio.AbstractEventLoop) -> Callable[[LogSettings], Events]:
    return lambda settings: make_events(settings, now=time.time, loop=loop)


def _command(program: str, here: Path) -> str:
    """Return how to call `program` again: by its name where PATH has it, relative to `here` where it lies below, else as it was."""
    path = Path(program)
    if shutil.which(path.name) == str(path.absolute()):
        return path.name
    return str(path.relative_to(here)) if path.is_relative_to(here) else program


def _greet(config: Config, addresses: list[tuple[str, int]]) -> None:
    """Tell somebody who just typed `make run` what they have and what to try."""
    address, port = addresses[0]
    mailroot = next(
        (route.to.removeprefix("maildir:") for route in config.route if route.to.startswith("maildir:")), ""
    )
    ours = _command(sys.argv[0], Path.cwd())
    lines = [
        "",
        f"Upesi listens on {address}:{port} and keeps its mail in {os.path.dirname(config.spool.path)}.",
        f"It takes mail for localhost and {config.node.name}; for this machine it also relays to the rest of the world.",
        "",
        "Send a first message (swaks is a Debian package):",
        f"    swaks --server {address}:{port} --from me@example.org --to {os.environ.get('USER') or 'you'}@localhost",
        "It is then in",
        f"    {mailroot}/{os.environ.get('USER') or 'you'}/new/",
        "",
        f"In another terminal: {ours} status, {ours} queue list, {ours} trace ID. Control-C stops the server.",
        "",
    ]
    sys.stderr.write("\n".join(lines) + "\n")
