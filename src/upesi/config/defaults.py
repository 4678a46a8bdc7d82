"""The zero configuration: what `upesi serve` does without a file, and what `upesi init` writes.

They are one text, so that they cannot differ but in TLS, for which `init` makes a certificate: it listens on 127.0.0.1:2525, takes mail
for this machine into Maildirs below var/mail, and sends what local programs hand in by MX. Nothing outside the machine can reach
it until somebody changes an address.
"""

from __future__ import annotations

import socket

from upesi.mail.address import AddressError, domain_from

__all__ = ["SYSTEM_USER", "first_text", "machine_name", "system_text", "zero_text"]

# as in packaging/systemd/upesi.service
SYSTEM_USER = "upesi"
_SYSTEM_STATE = "/var/lib/upesi"

_TEXT = """\
# Upesi's configuration. Every key with its default: docs/reference/configuration.md
# Check it with `upesi config check -c FILE`; a running server takes it over with `upesi reload`.
# Relative paths are relative to the folder of this file.

[node]
# The name in the greeting, in HELO and in Received. Without it: the machine's own name.
# name = "mail.example.com"
# Worker processes; 0: one per processor.
# workers = 0
# Started as root (port 25), become this user once the ports are open.
{user}

[spool]
# Where mail waits. Keep it on a disk that survives the machine; it belongs to one server at a time.
path = "{var}/spool"

# One table for each address. For the Internet: address = "0.0.0.0" and a second table with "::", port = 25.
[[listener]]
address = "127.0.0.1"
port = {port}
{tls}

[smtp]
# max_message_size = "50MB"
# max_recipients = 1000

# What is taken in, and where it goes. The first table that names the domain wins; mail without one goes by MX.
# to = "mx", "smtp://HOST:PORT", "lmtp://HOST:PORT", "lmtp:///PATH/TO/SOCKET", "maildir:FOLDER" or "discard"
[[route]]
domains = [{domains}]
to = "maildir:{var}/mail"

[plugins]
# Which plugins run. Your own: a file in `folder`, its name here.
enabled = ["max_hops", "relay", "aliases", "recipients"]
folder = "{plugins}"

# Whose mail is taken: everybody at these domains. Lists and tables of single recipients: docs/guide.md, section 3
[plugins.recipients]
domains = [{domains}]

# Who may send anywhere. This is a fence against becoming an open relay: widen it with care.
[plugins.relay]
networks = ["127.0.0.0/8", "::1/128"]

[delivery]
# Everything without a route goes to this relay instead of by MX.
# smarthost = "smtp://relay.example.com:25"
# Waits between tries, and when mail is returned to its sender.
# retry = ["5m", "15m", "30m", "1h", "2h", "4h"]
# expire = "5d"

[log]
# auto: readable on a terminal, JSON lines elsewhere.
# format = "auto"

[metrics]
# GET /metrics, /healthz and /readyz for the whole machine; 0: none.
# port = 2580
"""


_NO_TLS = """\
# "starttls" offers TLS, "implicit" begins with it (port 465): once the folder `certificates` holds NAME.pem, chain and key. docs/guide.md
# tls = "starttls\""""
_TLS = """\
# Offers TLS, with what the folder `certificates` holds: NAME.pem with chain and key. "implicit" begins with it (port 465). docs/guide.md
tls = "starttls\""""


def machine_name() -> str:
    """Return the machine's own name if it is a valid domain name, else "localhost". Asks no DNS."""
    try:
        return domain_from(socket.gethostname())
    except AddressError:
        return "localhost"


def zero_text(machine: str) -> str:
    """Return the commented TOML of the zero configuration for a machine called `machine`."""
    return _text(machine, user='# user = "upesi"', var="var", port=2525, plugins="plugins")


def first_text(machine: str) -> str:
    """Return what `upesi init` writes: the same, with STARTTLS offered, for which it puts a certificate beside the file."""
    return zero_text(machine).replace(_NO_TLS, _TLS)


def system_text(machine: str, folder: str) -> str:
    """Return the same for a service of the system, as packaging/systemd/upesi.service runs it; the file is to lie in `folder`.

    Absolute paths below /var/lib/upesi, the only place where the unit lets it write; port 25, which the unit lets it bind. Still on
    loopback: nothing outside of the machine can reach it until somebody changes an address.
    """
    plugins = f"{folder}/plugins"
    text = _text(machine, user=f'user = "{SYSTEM_USER}"', var=_SYSTEM_STATE, port=25, plugins=plugins)
    return text.replace(_NO_TLS, _TLS)


def _text(machine: str, *, user: str, var: str, port: int, plugins: str) -> str:
    names = dict.fromkeys(("localhost", machine))
    domains = ", ".join(f'"{name}"' for name in names)
    return _TEXT.format(domains=domains, user=user, var=var, port=port, plugins=plugins, tls=_NO_TLS)
