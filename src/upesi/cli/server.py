"""`upesi status`, `reload`, `stop` and `trace`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click

from upesi.cli.backend import connected, server_of
from upesi.cli.options import configured, json_option, load_config
from upesi.cli.output import Output, patience
from upesi.cli.values import records, table_of
from upesi.control.client import ControlClient
from upesi.control.errors import RequestTimeout, ServerDown

__all__ = ["reload", "status", "stop", "trace"]

_POLL = 0.1


@click.command()
@configured
@json_option
def status(config_path: Path | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Show workers, listeners and queues of the running server."""
    config = load_config(config_path, overrides)
    with server_of(config) as server, patience("asking all workers"):
        answer = table_of(server.request("status"))
    output = Output(as_json=as_json)
    if as_json:
        output.json(answer)
        return
    lists = {name: records(value) for name, value in answer.items() if _is_records(value)}
    output.fields({name: value for name, value in answer.items() if name not in lists})
    for name, rows in lists.items():
        click.echo(f"\n{name}")
        flat = [_flat(row) for row in rows]
        columns = list(dict.fromkeys(key for row in flat for key in row))
        output.table(columns, [[row.get(column) for column in columns] for row in flat], rows)


def _is_records(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _flat(row: dict[str, object]) -> dict[str, object]:
    """Return `row` with the keys of tables in it beside its own: what a worker says of itself beside what the supervisor knows."""
    flat: dict[str, object] = {}
    for key, value in row.items():
        flat.update(table_of(value) if isinstance(value, dict) else {key: value})
    return flat


@click.command()
@configured
@json_option
def reload(config_path: Path | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Have the server take over its changed configuration and plugins.

    They are loaded and checked in a fresh process first; if anything is wrong the server goes on as it is, and says what.
    """
    config = load_config(config_path, overrides)
    with server_of(config) as server, patience("reloading"):
        answer = server.request("reload")
    Output(as_json=as_json).say("reloaded: new workers take mail, the old ones finish what they hold", answer)


@click.command()
@configured
@json_option
@click.option("--no-wait", is_flag=True, help="Return at once.")
def stop(config_path: Path | None, overrides: tuple[str, ...], as_json: bool, no_wait: bool) -> None:
    """Have the server finish what it holds, and end."""
    config = load_config(config_path, overrides)
    with server_of(config) as server:
        answer = server.request("stop")
    # the server drains within its own bound; beyond that something is wrong that a person must look at
    deadline = time.monotonic() + float(config.node.drain) + 15
    with patience("stopping"):
        while not no_wait and _answers(config.control.socket):
            if time.monotonic() > deadline:
                raise RequestTimeout("the server was told to stop and still answers")
            time.sleep(_POLL)
    Output(as_json=as_json).say("stopping" if no_wait else "stopped", answer)


def _answers(socket: str) -> bool:
    try:
        ControlClient(socket, timeout=5).close()
    except ServerDown:
        return False
    return True


@click.command()
@configured
@json_option
@click.argument("id")
def trace(config_path: Path | None, overrides: tuple[str, ...], as_json: bool, id: str) -> None:
    """Show everything that happened to the message ID, also after it has gone (see spool.history)."""
    config = load_config(config_path, overrides)
    with connected(config) as backend:
        events = records(backend.request("trace", {"id": id}))
    if not events:
        raise click.ClickException(
            f"nothing is known of {id}: wrong id, or older than spool.history ({config.spool.history})"
        )
    rows = [[_clock(event.get("at")), event.get("kind"), _details(event)] for event in events]
    Output(as_json=as_json).table(["time", "event", "details"], rows, events)


def _clock(at: object) -> str:
    moment = datetime.fromtimestamp(at if isinstance(at, (int, float)) else 0, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"


def _details(event: dict[str, object]) -> str:
    return " ".join(f"{key}={value}" for key, value in event.items() if key not in ("at", "kind"))
