"""One real server for all tests of this folder that need one: `upesi serve` with listeners for SMTP (IPv4, IPv6) and LMTP, the
bundled plugins with tables that hostile addresses are tried on, routes to two kinds of next hop and to a Maildir.

No client of these tests may relay: they come from the loopback, and the relay networks are elsewhere.
"""

from __future__ import annotations

import socket
from pathlib import Path

from integration.server import UpesiServer, free_port
from scenarios_net.next_hop import NextHop

__all__ = ["ScenarioServer", "have_ipv6"]

_CONFIG = """\
[node]
name = "test.example"
workers = 1
drain = "5s"

[spool]
path = "{folder}/spool"
min_free = "1MB"
# so that files are in play
inline_limit = "16kB"

# what is counted over a session has its own tests; here sessions are long and full of errors
[smtp]
max_message_size = 100000
soft_errors = 10000
hard_errors = 10000
max_idle_commands = 10000

{listeners}

[plugins.relay]
networks = ["192.0.2.0/24"]

[plugins.recipients]
domains = ["test.example", "folder.example", "client.example"]
addresses = ["b@test.example", "c@test.example", "d@test.example", "victim@test.example", "café@test.example"]
separators = "+"

[plugins.aliases]
domains = ["test.example"]
max_expansion = 50

[plugins.aliases.table]
team = ["b", "c", "d", "team"]
circle = ["round"]
round = ["about"]
about = ["circle"]
crowd = [{crowd}]
{deep}

[[route]]
domains = ["test.example", "client.example"]
to = "smtp://127.0.0.1:{hop}"

[[route]]
domains = ["folder.example"]
to = "maildir:{folder}/mail"

[delivery]
retry = ["500ms"]
jitter = 0.0

[metrics]
port = 0

[log]
format = "json"
"""
_LISTENER = '[[listener]]\naddress = "{}"\nport = {}\nrole = "{}"\n'


def have_ipv6() -> bool:
    """Say whether the loopback has IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


class ScenarioServer(UpesiServer):
    """The server; `address` gives the listeners by name: "smtp", "lmtp" and, where there is IPv6, "smtp6"."""

    def __init__(self, folder: Path, hop: NextHop) -> None:
        self._hop = hop
        self.address: dict[str, tuple[str, int]] = {"lmtp": ("127.0.0.1", free_port())}
        if have_ipv6():
            self.address["smtp6"] = ("::1", free_port())
        super().__init__(folder)

    def configure(self, more: str) -> None:
        """Write the configuration."""
        self.address["smtp"] = ("127.0.0.1", self.port)
        listeners = "\n".join(
            _LISTENER.format(host, port, "lmtp" if name == "lmtp" else "mx")
            for name, (host, port) in self.address.items()
        )
        crowd = ", ".join(f'"c{number}"' for number in range(100))
        deep = "\n".join(f'deep{number} = ["deep{number + 1}"]' for number in range(1000))
        self.file.write_text(
            _CONFIG.format(folder=self.folder, listeners=listeners, crowd=crowd, deep=deep, hop=self._hop.port)
        )

    @property
    def mail(self) -> Path:
        """The folder of the Maildirs."""
        return self.folder / "mail"
