"""`python -m bench`: run the duels, print them, write docs/benchmarks.md."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from bench.duels import DUELS, Duel
from bench.errors import BenchError
from bench.machine import describe
from bench.pulse import Pulse
from bench.report import as_json, as_markdown, show
from bench.result import Result
from bench.setting import Setting

_REPORT = Path(__file__).parents[1] / "docs" / "benchmarks.md"


@click.command()
@click.option("--quick", is_flag=True, help="Short runs: is everything in order? The ratios are rough.")
@click.option(
    "--only", multiple=True, type=click.Choice([duel.name for duel in DUELS]), help="This duel; may be repeated."
)
@click.option("--json", "json_", is_flag=True, help="Print JSON on standard output.")
@click.option("--rounds", type=click.IntRange(1), help="Runs of each server in each duel (9; with --quick 3).")
@click.option("--seconds", type=click.FloatRange(0.5), help="Length of a run (4; with --quick 2).")
def main(quick: bool, only: Sequence[str], json_: bool, rounds: int | None, seconds: float | None) -> None:
    """Run the duels side by side on this machine. Without --only, docs/benchmarks.md is written anew."""
    # Unwound like Ctrl-C, so that no server stays behind when the bench is told to stop
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    console = Console(stderr=json_)
    # Not in /tmp, which may be in memory; open to the user postfix, as a home folder is not
    work = Path(tempfile.mkdtemp(prefix="upesi-bench-", dir="/var/tmp"))
    work.chmod(0o755)
    length, turns = seconds or (2.0 if quick else 4.0), rounds or (3 if quick else 9)
    pulse = Pulse()

    def say(text: str) -> None:
        console.print(text, style="dim")
        pulse.beat()

    setting = Setting(work, length, min(length, 2.0), turns, 0.1 if quick else 1.0, say)
    try:
        machine = describe(work)
        results = [_measured(console, duel, setting, pulse) for duel in DUELS if not only or duel.name in only]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    console.print(": ".join(pulse.whole()), style="dim")
    for result in results:
        result.notes.append(pulse.during(result.name))
    if json_:
        click.echo(as_json(results))
    if not only:
        mode = " with `--quick`, so the figures are rough," if quick else ""
        _REPORT.write_text(as_markdown(results, [*machine, pulse.whole()], mode, length, turns))
        console.print(f"written: {_REPORT}")
    # A duel that could not be measured has no claims: that is no success either
    sys.exit(0 if all(result.claims and all(claim.kept for claim in result.claims) for result in results) else 1)


def _measured(console: Console, duel: Duel, setting: Setting, pulse: Pulse) -> Result:
    console.rule(duel.name)
    pulse.begin(duel.name)
    try:
        result = duel.run(setting)
    except BenchError as error:
        result = Result(duel.name, duel.title, "", ("what", "why"), [("not measured", str(error))])
    pulse.beat()
    show(console, result)
    return result


if __name__ == "__main__":
    main()
