"""Servers that look at everything before they take it: the ten checks of the duel, and Haraka's equals. Both ask the same resolver."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.errors import Unavailable
from bench.peers.haraka import HarakaRelay
from bench.peers.upesi import UpesiConfigured
from bench.ports import HARAKA, RELAY, SINK
from bench.resolver import RESOLVER

__all__ = ["CLIENT", "HarakaChecking", "UpesiChecking"]

# The client as the proxy in front names it. Not from a range that is reserved: Haraka looks at no such client
CLIENT = "45.79.203.5"
_PREFACE = b"PROXY TCP4 " + CLIENT.encode() + b" 45.79.203.99 50000 25\r\n"

_CHECKS = (
    "access", "fcrdns", "helo", "dnsbl", "sender_domain", "spf", "dkim", "dmarc", "headers", "max_hops", "recipients",
)  # fmt: skip
_UPESI = f"""\
[node]
name = "upesi.bench"
workers = 2
[[listener]]
address = "127.0.0.1"
port = {RELAY}
proxy = ["127.0.0.0/8"]
[dns]
servers = ["{RESOLVER}:53"]
[limits]
exempt = ["{CLIENT}/32"]
[[route]]
domains = ["*"]
to = "smtp://127.0.0.1:{SINK}"
[delivery]
allow_private = true
[metrics]
port = 0
[plugins]
enabled = [{", ".join(f'"{name}"' for name in _CHECKS)}]
[plugins.recipients]
domains = ["example.net"]
[plugins.dnsbl.zones."one.list.bench"]
[plugins.dnsbl.zones."two.list.bench"]
"""

_HARAKA = {
    "plugins": "access\nfcrdns\nhelo.checks\ndns-list\nmail_from.is_resolvable\nspf\ndkim\nheaders\nrcpt_to.in_host_list\nchecked\n",
    "host_list": "example.net\n",
    "dns-list.ini": "[main]\nzones[]=one.list.bench\nzones[]=two.list.bench\nsearch=all\nperiodic_checks=0\n",
}


class UpesiChecking(UpesiConfigured):
    """Ours: access, fcrdns, helo, two DNS lists, sender_domain, spf, dkim, dmarc, headers."""

    preface = _PREFACE

    def __init__(self, work: Path) -> None:
        super().__init__(work, _UPESI, "checking")


class HarakaChecking(HarakaRelay):
    """Haraka with the same checks but DMARC, which it does not have."""

    plugin = "checked"
    port = HARAKA
    preface = _PREFACE

    def argv(self) -> list[str]:
        """Return Haraka in a mount namespace of its own, in which /etc/resolv.conf names the resolver: Node.js reads nothing else."""
        unshare = shutil.which("unshare")
        if unshare is None:
            raise Unavailable("unshare is missing (apt-get install util-linux)")
        command = super().argv()
        # Haraka's own file with one line changed: a section that is left out has no default
        connection = self.folder / "config" / "connection.ini"
        connection.write_text(connection.read_text().replace("\nhosts[] =\n", "\nhosts[] = 127.0.0.1\n"))
        (self.folder / "resolv.conf").write_text(f"nameserver {RESOLVER}\n")
        script = f'mount --bind {self.folder}/resolv.conf /etc/resolv.conf && exec "$0" "$@"'
        return [unshare, "--mount", "sh", "-c", script, *command]

    def _configuration(self) -> dict[str, str]:
        return {**super()._configuration(), **_HARAKA}
