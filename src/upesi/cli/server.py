"""`upesi status`, `reload`, `stop` and `trace`."""

from __future__ import annotations

import time

import click

from upesi.cli.backend import connected, server_of
from upesi.cli.options import Target, json_option, targeted
from upesi.cli.output import Output, clock, patience, told
from upesi.cli.values import number_of, records, table_of
from upesi.control.client import ControlClient
from upesi.control.errors import RequestTimeout, ServerDown

__all__ = ["reload", "status", "stop", "trace"]

_POLL = 0.1


@click.command()
@targeted
@json_option
def status(target: Target, as_json: bool) -> None:
    """Show listeners, workers, the busiest sites and the queue of the running server."""
    from upesi.cli.status import show

    with server_of(target) as server, patience("asking all workers"):
        answer = table_of(server.request("status"))
    output = Output(as_json=as_json)
    if as_json:
        output.json(answer)
        return
    show(answer, output)


@click.command()
@targeted
@json_option
def reload(target: Target, as_json: bool) -> None:
    """Have the server take over its changed configuration and plugins.

    They are loaded and checked in a fresh process first; if anything is wrong the server goes on as it is, and says what. What --set said
    at its start stays; here --set can only say which server is meant (spool.path, control.socket).
    """
    if target.changes:
        raise click.UsageError(
            f"--set {target.changes[0]} would change nothing: a running server reads its file again, and keeps what --set said "
            "at its start. Write it into the file, or stop the server and start it with this --set"
        )
    with server_of(target) as server, patience("reloading"):
        answer = server.request("reload")
    for warning in answer.get("warnings", ()) if isinstance(answer, dict) and not as_json else ():
        click.echo(f"warning: {warning}", err=True)
    Output(as_json=as_json).say("reloaded: new workers take mail, the old ones finish what they hold", answer)


@click.command()
@targeted
@json_option
@click.option("--no-wait", is_flag=True, help="Return at once.")
def stop(target: Target, as_json: bool, no_wait: bool) -> None:
    """Have the server finish what it holds, and end."""
    with server_of(target) as server:
        answer = server.request("stop")
    # the server drains within its own bound; beyond that something is wrong that a person must look at
    deadline = time.monotonic() + number_of(table_of(answer).get("drain")) + 15
    with patience("stopping"):
        while not no_wait and _answers(target.socket):
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
@targeted
@json_option
@click.argument("id")
def trace(target: Target, as_json: bool, id: str) -> None:
    """Show everything that happened to the message ID, also after it has gone (see spool.history)."""
    with connected(target) as backend:
        events = records(backend.request("trace", {"id": id}))
    if not events:
        history = "" if target.named else f" ({target.config.spool.history})"
        raise click.ClickException(
            f"nothing is known of {id}: wrong id, older than spool.history{history}, or it was refused before it was queued"
        )
    rows = [[clock(number_of(event.get("at"))), event.get("kind"), told(event)] for event in events]
    Output(as_json=as_json).table(["time", "event", "details"], rows, events)
