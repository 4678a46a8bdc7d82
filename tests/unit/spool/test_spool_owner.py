"""A spool that root gives to the user that workers become: nothing outside of it changes hands (SECURITY.md)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "store"))
from store_world import SqliteEngine

from upesi.spool.admin import SpoolAdmin

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.mark.parametrize("name", ["planted", "spool.db-spare", "bodies/planted"])
async def test_what_a_link_leads_to_stays_with_its_owner(tmp_path: Path, name: str) -> None:
    """A worker that was taken over plants a link, and the next start as root would make it owner of any file of the machine."""
    victim = tmp_path / "shadow"
    victim.write_text("root's")
    engine = SqliteEngine(tmp_path)
    await engine.close()
    link = engine.folder / name
    link.unlink(missing_ok=True)
    link.symlink_to(victim)
    engine.admin = SpoolAdmin.open_or_create(engine.settings, "nobody", now=engine.clock)
    await engine.close()
    assert victim.stat().st_uid == 0
    assert (engine.folder / "spool.db").stat().st_uid != 0


async def test_the_mode_of_what_a_link_leads_to_stays(tmp_path: Path) -> None:
    """Files of the spool are closed to others at each start, but not what a link with their name leads to."""
    victim = tmp_path / "passwd"
    victim.write_text("everybody's")
    victim.chmod(0o644)
    engine = SqliteEngine(tmp_path)
    await engine.close()
    marker = engine.folder / "instance"
    content = marker.read_text()
    marker.unlink()
    victim.write_text(content)
    marker.symlink_to(victim)
    engine.admin = SpoolAdmin.open_or_create(engine.settings, now=engine.clock)
    await engine.close()
    assert victim.stat().st_mode & 0o777 == 0o644
