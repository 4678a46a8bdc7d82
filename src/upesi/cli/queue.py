"""`upesi queue`: look at queued mail, and hold, release, retry or cancel it, with the server running or not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import click

from upesi.cli.backend import Backend, connected
from upesi.cli.options import Target, about_one, json_option, selected, targeted
from upesi.cli.output import Output, age, cell, confirm, many, patience, second, size
from upesi.cli.values import number_of, records, said, table_of

__all__ = ["queue"]

# one page of a listing; a frame of the control socket holds thousands of rows
_PAGE = 1000
_CONDITIONS = (
    "message",
    "sender",
    "recipient",
    "domain",
    "queue",
    "older_than",
    "younger_than",
    "state",
    "pool",
    "tenant",
    "campaign",
)

Selector = dict[str, object]


class Selecting(click.Command):
    """A command about all mail that its options select, to which an id alone is given by mistake."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does, and say how a message is named where something else than options is left over."""
        ctx.allow_extra_args = True
        left = super().parse_args(ctx, args)
        if left and not ctx.resilient_parsing:
            ctx.fail(f"{left[0]!r} is no option: a message is named by --id, as in `{ctx.command_path} --id {left[0]}`")
        return left


@click.group()
def queue() -> None:
    """Look at queued mail, and hold, release, retry or cancel it.

    Without a running server these commands take the spool's lock and work on it directly.
    """


@queue.command("list", cls=Selecting, short_help="List deliveries.")
@targeted
@selected
@json_option
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many deliveries.")
def list_(target: Target, /, as_json: bool, limit: int, **conditions: object) -> None:
    """List deliveries: one line for each message and place where it goes."""
    with connected(target) as backend, patience("reading the queue"):
        found = list(_pages(backend, _selector(conditions), limit))
        total = len(found) if len(found) < limit else number_of(_ask(backend, "queue.count", conditions))
    now = time.time()
    rows = [
        [
            row.get("message"),
            _state(row),
            age(now - number_of(row.get("received"))),
            size(number_of(row.get("size"))),
            row.get("sender") or "<>",
            row.get("recipients"),
            row.get("attempts"),
            _next(row, now),
            _reason(row) or _unheard(row, now),
        ]
        for row in found
    ]
    columns = ["id", "state", "age", "size", "sender", "recipients", "tries", "next", "last reply"]
    table = _with("held because", [_aside(row) for row in found], columns, rows)
    Output(as_json=as_json).table(*_with("labels", [_labels(row) for row in found], *table), found)
    if total > len(found) and not as_json:
        click.echo(f"{len(found)} of {total:.0f}; more with --limit", err=True)


@queue.command(cls=Selecting)
@targeted
@selected
@json_option
def count(target: Target, /, as_json: bool, **conditions: object) -> None:
    """Count deliveries: of all messages, or of those that are selected."""
    with connected(target) as backend, patience("counting"):
        number = int(number_of(_ask(backend, "queue.count", conditions)))
    Output(as_json=as_json).say(str(number), {"count": number})


@queue.command()
@targeted
@json_option
def summary(target: Target, as_json: bool) -> None:
    """Show how much waits in each queue."""
    with connected(target) as backend:
        found = records(backend.request("queue.summary"))
    now = time.time()
    states = ["routing", "ready", "active", "held"]
    rows = [[row.get("queue"), *(row.get(state) for state in states), _next(row, now)] for row in found]
    Output(as_json=as_json).table(["queue", *states, "next"], rows, found)


@queue.command()
@about_one
def show(target: Target, as_json: bool, id: str) -> None:
    """Show what is queued of the message ID."""
    with connected(target) as backend:
        answer = backend.request("queue.show", {"id": id})
    if answer is None:
        raise _unknown(id)
    message = table_of(answer)
    output = Output(as_json=as_json)
    if as_json:
        output.json(message)
        return
    now = time.time()
    received = number_of(message.get("received"))
    output.fields(
        {
            "id": message.get("message"),
            "sender": message.get("sender") or "<>",
            "received": f"{second(received)} ({age(now - received)} ago)",
            "size": size(number_of(message.get("size"))),
        }
    )
    deliveries = records(message.get("deliveries") or [])
    rows = [
        [
            row.get("queue"),
            _state(row),
            row.get("recipients"),
            row.get("attempts"),
            _next(row, now),
            _reason(row) or _unheard(row, now),
        ]
        for row in deliveries
    ]
    columns = ["queue", "state", "recipients", "tries", "next", "last reply"]
    table = _with("held because", [_aside(row) for row in deliveries], columns, rows)
    output.table(*_with("labels", [_labels(row) for row in deliveries], *table), deliveries)


def _with(
    column: str, texts: list[str], columns: list[str], rows: list[list[object]]
) -> tuple[list[str], list[list[object]]]:
    """Return the table with one more column, where any row has a text for it."""
    if not any(texts):
        return columns, rows
    return [*columns, column], [[*row, text or None] for row, text in zip(rows, texts, strict=True)]


def _state(row: dict[str, object]) -> object:
    """Return the state of a delivery; "returning" where it is tried no more, and its sender is told instead."""
    return "returning" if _returning(row) else row.get("state")


def _returning(row: dict[str, object]) -> bool:
    return bool(row.get("returning")) and row.get("state") != "held"


def _labels(row: dict[str, object]) -> str:
    """Return what plugins called the mail."""
    return " ".join(f"{name}={value}" for name, value in table_of(row.get("labels") or {}).items())


def _aside(row: dict[str, object]) -> str:
    """Return why a delivery is held; empty where it is not, or nobody can say."""
    return str(row["set_aside"] or "an operator holds it") if "set_aside" in row else ""


@queue.command(short_help="Say why a message waits, and when it is tried next.")
@about_one
def why(target: Target, as_json: bool, id: str) -> None:
    """Say why the message ID is waiting, since when, and when it will next be tried."""
    with connected(target) as backend:
        found = records(backend.request("queue.why", {"id": id}))
    if not found:
        raise _unknown(id)
    output = Output(as_json=as_json)
    if as_json:
        output.json(found)
        return
    for row in found:
        click.echo(_sentence(row, time.time()))


def _sentence(row: dict[str, object], now: float) -> str:
    """Put one delivery's reason into words."""
    since = age(now - number_of(row.get("since")))
    state = {
        "routing": f"has been waiting for {since} for its next hop to be found",
        "ready": f"has been waiting for {since}",
        # when a worker took it is written nowhere: that would be one more write for every message
        "active": "is with a worker: it is being sent, or is about to be",
        "held": f"has been held by an operator for {since}; `upesi queue release` lets it go on",
    }.get(str(row.get("state")), f"has been {cell(row.get('state'))} for {since}")
    if _returning(row):
        state = "is being returned to its sender, as an operator wants (cancel --bounce); it is tried no more"
    if aside := row.get("set_aside"):
        state = f"was set aside {since} ago because {cell(aside)}; `upesi queue release` lets it go on"
    tries = number_of(row.get("attempts"))
    parts = [f"{cell(row.get('recipients'))} {state}", f"queue {cell(row.get('queue'))}"]
    parts.append(f"tried {many(tries, 'time')}; last: {_reason(row) or 'no reply'}" if tries else _untried(row, now))
    if row.get("returning"):
        return "\n  ".join([*parts, *_return(row)])
    if row.get("retried") is not None:
        parts.append(f"made due by an operator, or by ETRN, {age(now - number_of(row['retried']))} ago")
    if obstacle := _obstacle(row, now):
        parts.append(obstacle)
    if (moment := _moment(row, now)) is not None:
        parts.append(f"next try {_in(moment, now)}")
    expires = number_of(row.get("expires"))
    parts.append(f"returned to its sender {_in(expires, now)}" + ("" if expires > now else ", when its turn comes"))
    return "\n  ".join(parts)


def _return(row: dict[str, object]) -> Iterator[str]:
    """Say what becomes of a delivery that an operator returns to its sender."""
    if row.get("state") == "held":
        yield "it is not tried again then: an operator cancelled it with --bounce, and its sender is told"
    elif row.get("reason") == "stopped":
        yield "no server is running here: `upesi serve` tells its sender"
    else:
        yield "its sender is told when its turn comes"


def _untried(row: dict[str, object], now: float) -> str:
    """Say why nothing was tried. What nobody put off is due when it comes, unless its sender wanted it later."""
    due = number_of(row.get("next_try"))
    if row.get("returning") or row.get("last") or row.get("state") not in ("routing", "ready") or due <= now:
        return "not tried yet"
    return f"held until {second(due)}, as its sender asked (FUTURERELEASE); `upesi queue retry` sends it now"


# what stands in the way of a queue, by the reason that its worker gives
_OBSTACLES = {
    "paused": "its worker is paused while an operator's change is made",
    "connection-limit": "all connections that its site may have are busy (delivery.site_connections)",
    "machine-limit": "all connections of this machine are busy (delivery.connections)",
    "plugin": "a plugin is being asked about mail of this queue",
    "routing": "its next hop is being looked up",
    "in-turn": "others of its queue are before it",
    "stopped": "no server is running here: `upesi serve` sends it",
}


def _obstacle(row: dict[str, object], now: float) -> str:
    """Return what the worker that owns the delivery's queue says stands in the way; empty where nothing does."""
    site = said(row.get("site_last"))
    if row.get("reason") == "unreachable":
        left = age(max(0.0, number_of(row.get("blocked_until")) - now))
        what = "answered, but no mail may go there as things are" if _answered(row) else "could not be reached"
        text = f"its site {what}; it is left alone for {left} more"
        return f"{text}; last said: {cell(site)}" if site else text
    text = _OBSTACLES.get(str(row.get("reason")), "")
    if not text or number_of(row.get("next_try", row.get("due"))) > now:
        # busy connections are no reason for what is not due yet
        return ""
    # what the site last said, where that is not what this very message heard
    return f"{text}; last said: {cell(site)}" if site and site != said(row.get("last")) else text


def _answered(row: dict[str, object]) -> bool:
    """Whether the site said something: a reply, or that with which no TLS came about as it must be (RFC 3463: X.7.X)."""
    last = table_of(row.get("site_last") or {})
    return bool(number_of(last.get("code") or 0)) or str(last.get("status", ""))[1:4] == ".7."


def _unheard(row: dict[str, object], now: float) -> str | None:
    """Return what a listing says of a delivery that has heard nothing itself: its site's last words, else what stands in the way."""
    waits = row.get("state") in ("routing", "ready") and not _returning(row)
    if not waits or not (obstacle := _obstacle(row, now)):
        return None
    site = said(row.get("site_last"))
    return f"to others: {site}" if site else obstacle


def _moment(row: dict[str, object], now: float) -> float | None:
    """Return when a delivery will next be tried: when it is due, and its site is no longer left alone."""
    if row.get("state") in ("active", "held"):
        return None
    due = row.get("next_try", row.get("due", row.get("next_due")))
    if row.get("returning") and due is not None:
        # no pause of its site keeps it
        return number_of(due)
    return None if due is None else max(number_of(due), number_of(row.get("blocked_until")))


def _in(moment: float, now: float) -> str:
    return f"in {age(moment - now)}" if moment > now else "now"


Change = Callable[..., None]

_BOUNCE: Callable[[Change], Change] = click.option(
    "--bounce", is_flag=True, help="Return them to their senders, with a failure notice."
)


def _nothing_more(command: Change) -> Change:
    return command


def _change(name: str, verb: str, done: str, help: str, *, final: bool = False) -> Change:
    """Make a command that changes what is selected, after saying how much that is.

    What is `final` asks even where one message is named, and can tell the senders.
    """

    @queue.command(name, help=help)
    @targeted
    @click.argument("id", required=False)
    @selected
    @json_option
    @click.option("--all", "everything", is_flag=True, help="The whole queue; needed where nothing else selects.")
    @click.option("--count", "only_count", is_flag=True, help="Only say how many deliveries it would be.")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    @(_BOUNCE if final else _nothing_more)
    def change(
        target: Target,
        /,
        as_json: bool,
        id: str | None,
        everything: bool,
        only_count: bool,
        yes: bool,
        bounce: bool = False,
        **conditions: object,
    ) -> None:
        asked, become = ("bounce", "returned to its sender") if bounce else (name, done)
        if id is not None:
            if conditions["message"] not in (None, id):
                raise click.UsageError("two messages are named: ID and --id")
            conditions["message"] = id
        if not everything and not _selector(conditions):
            raise click.UsageError(f"say which messages to {verb} (an ID, --domain, ...), or --all")
        output = Output(as_json=as_json)
        with connected(target) as backend:
            number = int(number_of(_ask(backend, "queue.count", conditions)))
            one = set(_selector(conditions)) == {"message"}
            if one and not number:
                raise _unknown(conditions["message"])
            if only_count:
                output.say(f"{_deliveries(number)} would be {become}", {"count": number})
                return
            if number and not yes and (final or not one):
                confirm(f"{verb.capitalize()} {_deliveries(number)}?")
            with patience(become):
                answer = _repeat(backend, f"queue.{asked}", conditions)
        # the notice is written when the delivery's turn comes, some seconds later
        output.say(_told(answer, f"will be {become}" if bounce else become, number), answer)

    return change


def _unknown(id: object) -> click.ClickException:
    return click.ClickException(f"nothing is queued of {id}; `upesi trace {id}` says what became of it")


def _repeat(backend: Backend, name: str, conditions: dict[str, object]) -> dict[str, object]:
    """Ask until everything is changed: the server cancels a bounded number at a time."""
    total = unreturned = 0
    while True:
        answer = table_of(_ask(backend, name, conditions))
        changed = int(number_of(answer.get("changed")))
        total += changed
        unreturned += int(number_of(answer.get("unreturned")))
        if name != "queue.cancel":
            return {"changed": total, "active": answer.get("active")}
        if not changed:
            return {"changed": total, "active": answer.get("active"), "unreturned": unreturned}


def _told(answer: dict[str, object], done: str, selected: int) -> str:
    changed = number_of(answer.get("changed"))
    text = f"{_deliveries(changed)} {done}"
    if selected and not changed and not answer.get("active"):
        text += f": {selected} selected, none is in a state for it (`upesi queue list` says how they are)"
    if lost := number_of(answer.get("unreturned")):
        text += f"; {lost:.0f} of them {'was' if lost == 1 else 'were'} being returned: the sender is not told now"
    if active := number_of(answer.get("active")):
        is_, was = ("is", "was") if active == 1 else ("are", "were")
        text += f"; {active:.0f} {is_} being sent at this moment and {was} left alone: look again in a minute"
    return text


def _deliveries(number: float) -> str:
    return many(number, "delivery", "deliveries")


_change("hold", "hold", "held", "Let messages wait until they are released.")
_change(
    "release",
    "release",
    "released",
    "Let held messages be tried again, when they are due. This ends no pause of a site that cannot be reached: `upesi queue retry` does.",
)
_change("retry", "retry", "made due", "Try messages now instead of when they are due.")
_change(
    "cancel",
    "cancel",
    "cancelled",
    "Take messages out of the queue for good. Their senders are not told, unless with --bounce.",
    final=True,
)


def _ask(backend: Backend, name: str, conditions: dict[str, object]) -> object:
    return backend.request(name, {"selector": _selector(conditions)})


def _selector(conditions: dict[str, object]) -> Selector:
    return {name: conditions[name] for name in _CONDITIONS if conditions.get(name) is not None}


def _pages(backend: Backend, selector: Selector, limit: int) -> Iterator[dict[str, object]]:
    after = 0
    while limit > 0:
        page = records(
            backend.request("queue.list", {"selector": selector, "limit": min(limit, _PAGE), "after": after})
        )
        yield from page
        if len(page) < min(limit, _PAGE):
            return
        limit -= len(page)
        after = int(number_of(page[-1].get("delivery")))


def _next(row: dict[str, object], now: float) -> str | None:
    moment = _moment(row, now)
    if moment is None:
        return None
    # due, and nobody knows until when something is in the way: "now" would be a promise
    in_the_way = moment <= now and row.get("reason") in ("stopped", "paused", "connection-limit", "machine-limit")
    return str(row["reason"]) if in_the_way else _in(moment, now)


def _reason(row: dict[str, object]) -> str | None:
    """Return what is known of the last attempt: who said what."""
    if row.get("problem"):
        return f"cannot be read: {row['problem']}"
    return said(row.get("last")) or None
