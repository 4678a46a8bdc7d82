"""The page that `upesi status` prints: is all well, and if not, where not. What is empty is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from upesi import __version__
from upesi.cli.output import Output, age, cell, many, size
from upesi.cli.values import number_of, records, said, table_of

__all__ = ["show"]

# a page, not a listing: `upesi queue summary` and --json have the rest
_SITES = 10
_STATES = ("routing", "ready", "active", "held")

Row = Mapping[str, object]


def show(answer: Row, output: Output) -> None:
    """Print the answer to "status" as a page."""
    workers = [_flat(row) for row in _list(answer, "workers")]
    listening = [cell(address) for address in _sequence(answer.get("listeners"))]
    output.fields(
        {
            "server": f"upesi {answer.get('version') or __version__}, pid {cell(answer.get('pid'))}",
            "listening": listening or "nowhere",
            "spool": answer.get("spool"),
            "queue": _totals(_list(answer, "queues")),
        }
    )
    if not workers:
        click.echo("\nno worker is running: the log says why")
    _section(output, "workers", [_worker(row) for row in workers])
    sites = [site for row in workers for site in _list(row, "sites")]
    _section(output, _title(sites), [_site(site) for site in sorted(sites, key=_importance)[:_SITES]])
    _section(output, "plugins that failed", [row for worker in workers for row in _plugins(worker)])


def _flat(worker: Row) -> dict[str, object]:
    """Return what the supervisor knows of a worker with what it says of itself beside it."""
    own = worker.get("status")
    status = table_of(own) if isinstance(own, dict) else {}
    scheduler = status.pop("scheduler", None)
    return {**worker, **status, **(table_of(scheduler) if isinstance(scheduler, dict) else {}), "silent": own is None}


def _worker(worker: Row) -> dict[str, object]:
    listeners = _list(worker, "listeners")
    return {
        "worker": worker.get("slot"),
        "pid": worker.get("pid"),
        "state": "no answer" if worker["silent"] else "paused" if worker.get("paused") else worker.get("state"),
        "sessions": _sum(listeners, "sessions"),
        "taken": _sum(listeners, "accepted"),
        "turned away": _sum(listeners, "refused") or None,
        "limited": number_of(worker.get("limited")) or None,
        "overloaded by": worker.get("overload") or None,
        "deliveries in memory": worker.get("deliveries"),
        "message data": size(number_of(worker.get("bodies"))),
        "connections out": worker.get("connections"),
    }


def _title(sites: Sequence[Row]) -> str:
    return f"busiest {_SITES} of {len(sites)} sites" if len(sites) > _SITES else "sites"


def _importance(site: Row) -> tuple[bool, float, float, str]:
    """Sites in trouble first, then the busy ones."""
    busy = number_of(site.get("connections"))
    return not number_of(site.get("blocked")), -number_of(site.get("ready")), -busy, str(site.get("queue"))


def _site(site: Row) -> dict[str, object]:
    blocked = number_of(site.get("blocked"))
    return {
        "site": site.get("queue"),
        "connections": f"{number_of(site.get('connections')):.0f} of {number_of(site.get('limit')):.0f}",
        "sending": site.get("in_flight"),
        "ready": site.get("ready"),
        "more in the spool": True if site.get("backlog") else None,
        "left alone for": age(blocked) if blocked else None,
        "failures": site.get("failures") or None,
        "last error": said(site.get("last")) or None,
    }


def _plugins(worker: Row) -> list[dict[str, object]]:
    plugins = worker.get("plugins")
    found = {name: table_of(state) for name, state in plugins.items()} if isinstance(plugins, dict) else {}
    return [
        {
            "plugin": name,
            "worker": worker.get("slot"),
            "failures": state.get("failures"),
            "now": "not called for a while" if state.get("broken") else "called",
        }
        for name, state in found.items()
        if state.get("failures")
    ]


def _totals(queues: Sequence[Row]) -> str:
    """Return the whole queue in a line; empty states say nothing."""
    counts = {state: _sum(queues, state) for state in _STATES}
    whole = sum(counts.values())
    if not whole:
        return "empty"
    parts = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return f"{many(whole, 'delivery', 'deliveries')} in {many(len(queues), 'queue')}: {parts}"


def _section(output: Output, title: str, rows: Sequence[Row]) -> None:
    """Print a table under a title, without the columns in which there is nothing; nothing at all without rows."""
    if not rows:
        return
    columns = [name for name in rows[0] if any(row.get(name) is not None for row in rows)]
    click.echo(f"\n{title}")
    output.table(columns, [[row.get(name) for name in columns] for row in rows], rows)


def _sequence(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else ()


def _list(table: Row, name: str) -> list[dict[str, object]]:
    return records(table.get(name) or [])


def _sum(rows: Sequence[Row], name: str) -> int:
    return int(sum(number_of(row.get(name)) for row in rows))
