"""Keys as operators make them, and what a verifier finds of them in mail that left the server."""

from __future__ import annotations

import re
import time
from pathlib import Path

from click.testing import CliRunner

from unit.mailauth.dkimkit import verified
from upesi.cli.main import upesi

__all__ = ["make_keys", "plain", "signers"]


def make_keys(folder: Path, domain: str) -> tuple[str, dict[str, str]]:
    """Return what `upesi dkim new` says of an RSA and an Ed25519 key: the lines of the configuration, and the zone."""
    lines, zone = [], {}
    for selector, kind in (("r1", "rsa"), ("e1", "ed25519")):
        said = CliRunner().invoke(upesi, ["dkim", "new", domain, selector, "--type", kind, "--folder", str(folder)])
        assert said.exit_code == 0, said.output
        lines.append(said.output.strip().rpartition("\n")[2])
        record, _, _ = said.output.partition("# in the configuration")
        zone[f"{selector}._domainkey.{domain}"] = " ".join(re.findall(r'"[^"]*"', record))
    return "\n".join(lines), zone


def plain(zone: dict[str, str]) -> dict[str, str]:
    """Return the texts of a zone, whose strings stand in quotation marks."""
    return {name: re.sub(r'" "|"', "", record) for name, record in zone.items()}


def signers(octets: bytes, zone: dict[str, str]) -> list[tuple[str, str]]:
    """Return the result and the domain of each signature of a message."""
    found = verified(octets, plain(zone), now=int(time.time()))
    return [(each.result, each.domain) for each in found]
