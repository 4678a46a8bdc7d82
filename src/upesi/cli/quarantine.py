"""`upesi quarantine`: mail that was set aside because it is damaged."""

from __future__ import annotations

import sys
import time

import click

from upesi.cli.backend import connected
from upesi.cli.options import Target, about_one, json_option, targeted
from upesi.cli.output import Output, age, confirm, many, patience, second, size
from upesi.cli.values import number_of, records, table_of

__all__ = ["quarantine"]


@click.group()
def quarantine() -> None:
    """Look at damaged mail that was set aside, and release or delete it.

    A message whose checksum is wrong is never sent; it waits here, with the reason, until somebody decides. All other mail goes on.
    """


@quarantine.command("list")
@targeted
@json_option
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many messages.")
def list_(target: Target, as_json: bool, limit: int) -> None:
    """List messages in quarantine, the oldest first."""
    with connected(target) as backend, patience("reading the quarantine"):
        found = records(backend.request("quarantine.list", {"limit": limit}))
    if not found and not as_json:
        click.echo("nothing is in quarantine", err=True)
        return
    now = time.time()
    rows = [
        [
            row.get("message"),
            age(now - number_of(row.get("at"))),
            row.get("sender") or "<>",
            [name for delivery in records(row.get("deliveries") or []) for name in _names(delivery)],
            size(number_of(row.get("size"))),
            row.get("reason"),
        ]
        for row in found
    ]
    Output(as_json=as_json).table(["id", "since", "sender", "recipients", "size", "reason"], rows, found)


@quarantine.command(short_help="Show one message: why it is there, what can be done.")
@about_one
@click.option("--content", is_flag=True, help="Write the message itself, as it was found, to standard output instead.")
def show(target: Target, as_json: bool, id: str, content: bool) -> None:
    """Show what is in quarantine of the message ID, why, and whether it can be released."""
    with connected(target) as backend:
        if content:
            start = 0
            while (
                isinstance(piece := backend.request("quarantine.content", {"id": id, "start": start}), bytes) and piece
            ):
                sys.stdout.buffer.write(piece)
                start += len(piece)
            return
        answer = backend.request("quarantine.show", {"id": id})
    if answer is None:
        raise click.ClickException(f"nothing of {id} is in quarantine")
    message = table_of(answer)
    output = Output(as_json=as_json)
    if as_json:
        output.json(message)
        return
    deliveries = records(message.get("deliveries") or [])
    output.fields(
        {
            "id": message.get("message"),
            "sender": message.get("sender") or "<>",
            "since": second(number_of(message.get("at"))),
            "size": size(number_of(message.get("size"))),
            "reason": message.get("reason"),
            "message": message.get("problem") or "sound",
        }
    )
    rows = [[row.get("queue"), _names(row), row.get("reason"), row.get("problem") or "sound"] for row in deliveries]
    output.table(["queue", "recipients", "reason", "delivery"], rows, deliveries)


@quarantine.command()
@targeted
@json_option
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option(
    "--damaged-body", is_flag=True, help="Release a message also if its body is not what it was: as it was found."
)
def release(target: Target, as_json: bool, ids: tuple[str, ...], damaged_body: bool) -> None:
    """Let messages go on to their recipients.

    Only what is sound can go: a body that was put back from a copy, a disk that reads again. A delivery whose recipients are damaged
    never goes; write the message out with `show --content` and send it anew.
    """
    with connected(target) as backend:
        answers = [
            table_of(backend.request("quarantine.release", {"id": id, "damaged_body": damaged_body})) for id in ids
        ]
    total = sum(number_of(answer.get("released")) for answer in answers)
    Output(as_json=as_json).say(f"{many(total, 'delivery', 'deliveries')} released", {"released": int(total)})


@quarantine.command()
@targeted
@json_option
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(target: Target, as_json: bool, ids: tuple[str, ...], yes: bool) -> None:
    """Delete messages for good. Their senders are not told."""
    if not yes:
        confirm(f"Delete {many(len(ids), 'message')} for good?")
    with connected(target) as backend:
        gone = sum(
            bool(number_of(table_of(backend.request("quarantine.delete", {"id": id})).get("deleted"))) for id in ids
        )
    Output(as_json=as_json).say(f"{many(gone, 'message')} deleted", {"deleted": gone})


def _names(delivery: dict[str, object]) -> list[str]:
    names = delivery.get("recipients")
    return [str(name) for name in names] if isinstance(names, (list, tuple)) else []
