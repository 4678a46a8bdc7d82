"""The configurations of the duels that start ours with one of their own: what they have in common, and what each adds."""

from __future__ import annotations

from bench.ports import RELAY

__all__ = ["DISCARDS", "MANY_SESSIONS", "configured"]

# as many sessions as a duel opens, and as many that come at once
MANY_SESSIONS = "max_sessions = 20000\nbacklog = 4096\n"
DISCARDS = '[[route]]\ndomains = ["*"]\nto = "discard"\n'


def configured(workers: int, *, listener: str = "", more: str = "") -> str:
    """Return a configuration that relays for the loopback; `listener` are keys of its one listener, `more` further tables."""
    return f"""\
[node]
name = "upesi.example.org"
workers = {workers}
[[listener]]
address = "127.0.0.1"
port = {RELAY}
{listener}[plugins.relay]
networks = ["127.0.0.0/8"]
[metrics]
port = 0
{more}"""
