"""One real server for all tests of this folder that need one: `upesi serve` with a listener of every kind (IPv4, IPv6, STARTTLS, TLS
from the first octet, behind a proxy, submission, LMTP), the bundled plugins with tables that hostile addresses are tried on, routes to two
kinds of next hop and to a Maildir.

No client of these tests may relay: they come from the loopback, and the relay networks are elsewhere.
"""

from __future__ import annotations

import socket
from pathlib import Path

from integration.server import UpesiServer, free_port
from scenarios_net.next_hop import NextHop
from upesi.lookup.account_file import changing
from upesi.lookup.accounts import new_words
from upesi.sasl.credentials import Identity
from upesi.tls.selfsigned import self_signed

__all__ = ["KINDS", "PASSWORD", "USER", "ScenarioServer", "have_ipv6"]

_CONFIG = """\
[node]
name = "test.example"
workers = 1
drain = "50s"

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

[tls]
certificates = "{folder}/certificates"

[[credentials]]
source = "file:{folder}/accounts"
# a hash for each of some hundred sessions would be most of what the tests cost
remember = "10m"

# the dialogues say who they are as they like
[auth]
senders = "any"
# hundreds of wrong passwords come from one address here; locks and delays have their own tests
delay = "1ms"
longest_delay = "1ms"
pair_failures = "none"
network_failures = "none"
account_failures = "none"

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

# the clients behind the proxy are nobody's friends, and make a thousand mistakes in a minute here
[limits]
exempt = ["0.0.0.0/0", "::/0"]

[delivery]
retry = ["500ms"]
jitter = 0.0

[metrics]
port = 0

[log]
format = "json"
"""


def have_ipv6() -> bool:
    """Say whether the loopback has IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


_KINDS = {
    "smtp": "",
    "smtp6": "",
    "starttls": 'tls = "starttls"\n',
    "implicit": 'tls = "implicit"\n',
    "proxy": 'proxy = ["127.0.0.0/8"]\n',
    "submission": 'role = "submission"\ntls = "required"\n',
    "lmtp": 'role = "lmtp"\n',
}
_LISTENER = '[[listener]]\naddress = "{}"\nport = {}\n{}'
# the kinds that can be had on this machine
KINDS = [kind for kind in _KINDS if kind != "smtp6" or have_ipv6()]
USER, PASSWORD = "b@test.example", "correct horse"


class ScenarioServer(UpesiServer):
    """The server; `address` gives the listeners by their kind: "smtp", "starttls", ...; "smtp6" where there is IPv6."""

    def __init__(self, folder: Path, hop: NextHop) -> None:
        self._hop = hop
        self.address: dict[str, tuple[str, int]] = {
            kind: ("::1" if kind == "smtp6" else "127.0.0.1", free_port()) for kind in KINDS
        }
        super().__init__(folder)

    def configure(self, more: str) -> None:
        """Write the configuration."""
        self.address["smtp"] = ("127.0.0.1", self.port)
        listeners = "\n".join(_LISTENER.format(host, port, _KINDS[kind]) for kind, (host, port) in self.address.items())
        certificates = self.folder / "certificates"
        certificates.mkdir()
        pair = certificates / "test.example.pem"
        pair.touch(mode=0o600)
        pair.write_bytes(self_signed("test.example"))
        with changing(self.folder / "accounts") as accounts:
            accounts.put(USER, new_words(Identity(USER), PASSWORD))
        crowd = ", ".join(f'"c{number}"' for number in range(100))
        deep = "\n".join(f'deep{number} = ["deep{number + 1}"]' for number in range(1000))
        self.file.write_text(
            _CONFIG.format(folder=self.folder, listeners=listeners, crowd=crowd, deep=deep, hop=self._hop.port)
        )

    @property
    def mail(self) -> Path:
        """The folder of the Maildirs."""
        return self.folder / "mail"
