"""`upesi serve`."""

from __future__ import annotations

from pathlib import Path

import click

from upesi.cli.options import configured

__all__ = ["serve"]


@click.command()
@configured
def serve(config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Run the server in the foreground.

    Without a configuration: on 127.0.0.1:2525, mail for this machine into Maildirs below ./var/mail, everything else from local programs
    by MX. SIGTERM or Ctrl-C ends it after it has finished what it holds; SIGHUP reloads.
    """
    from upesi.runtime.serve import serve as run

    click.get_current_context().exit(run(config_path, overrides))
