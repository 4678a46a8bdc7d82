"""Tables: on the terminal with rich, in docs/benchmarks.md as Markdown, or as JSON."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table

from bench.result import Claim, Result

__all__ = ["as_json", "as_markdown", "show"]

_HEAD = """\
# Benchmarks

Written by `make bench`{mode} on {day}; run it to have your own. One duel: `python -m bench --only NAME`.

Machines are shared and noisy, so a figure counts only as a ratio taken in one run: the servers take turns (A B B A), every run lasts
about {seconds:g} s after a warm-up, and what is written is the median of {rounds} (smallest - largest). A ratio is the median of the
ratios of neighbouring runs. All queues are on the same file system. Nothing that was lost is left out.

Ports: 2603 the sink, 2606 Postfix, 2607 Haraka, 2608 Upesi relaying (`upesi serve -c packaging/examples/relay-bench.toml`), 2609 Upesi
discarding (`discard-bench.toml`). How each peer is configured: `bench/peers/`. Against others ours relays with `spool.cut_through = false`:
every 250 of it waits for a sync, as Postfix's does.
"""


def show(console: Console, result: Result) -> None:
    """Print one duel."""
    table = Table(title=result.title, title_justify="left", show_lines=False)
    for column in result.columns:
        table.add_column(column, overflow="fold")
    for row in result.rows:
        table.add_row(*row)
    console.print(table)
    for claim in result.claims:
        mark = f"[{'green' if claim.kept else 'red'}]{claim.verdict}[/]"
        console.print(f"  {mark}  {claim.text}: {_value(claim)} ({claim.bound.strip()})")
    for note in result.notes:
        console.print(f"  {note}", style="dim")


def as_markdown(
    results: Sequence[Result], machine: Sequence[tuple[str, str]], mode: str, seconds: float, rounds: int
) -> str:
    """Return the whole report."""
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    parts = [_HEAD.format(mode=mode, day=day, seconds=seconds, rounds=rounds)]
    parts.append("\n".join(["| machine | |", "|---|---|", *(f"| {name} | {value} |" for name, value in machine)]))
    parts.append("## Promises\n\n" + _claims(results))
    parts += [_duel(result) for result in results]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def as_json(results: Sequence[Result]) -> str:
    """Return the results for a program."""
    tree = [{**dataclasses.asdict(result), "kept": [claim.kept for claim in result.claims]} for result in results]
    return msgspec.json.format(msgspec.json.encode(tree)).decode()


def _value(claim: Claim) -> str:
    digits = 0 if abs(claim.value) >= 100 else 2
    return f"{claim.value:,.{digits}f} {claim.unit}".strip()


def _claims(results: Sequence[Result]) -> str:
    lines = ["| duel | promise | measured | |", "|---|---|---|---|"]
    for result in results:
        if not result.claims:
            lines.append(f"| {result.name} | | not measured: see below | |")
        for claim in result.claims:
            verdict = claim.verdict if claim.kept else f"**{claim.verdict}**"
            lines.append(f"| {result.name} | {claim.text}, {claim.bound.strip()} | {_value(claim)} | {verdict} |")
    return "\n".join(lines)


def _duel(result: Result) -> str:
    head = f"## {result.title}\n\n`python -m bench --only {result.name}`; by hand: `{result.command}`\n"
    lines = ["| " + " | ".join(result.columns) + " |", "|" + "---|" * len(result.columns)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in result.rows]
    notes = "".join(f"\n\n{note}" for note in result.notes)
    return head + "\n" + "\n".join(lines) + notes


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
