"""Which addresses the HTTP client goes to: https, and plain http on this machine only.

What is asked over HTTP decides who is let in, and carries passwords and tokens: nobody on the way may read or answer it.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

__all__ = ["is_loopback", "url_problem"]


def url_problem(url: str) -> str:
    """Say why `url` is none that we go to, in words that hold nothing of it; empty where it is one."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is no URL"
    if parts.scheme not in ("http", "https") or not host or port == 0 or not url.isprintable() or " " in url:
        return "is not of the form https://HOST/PATH"
    if parts.username is not None or parts.password is not None:
        return "has a user or a password in it: they would be shown wherever the URL is"
    if parts.fragment:
        return "has a fragment (#...), which is never sent"
    if parts.scheme == "http" and not is_loopback(host):
        return "is plain http to another machine: use https"
    return ""


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine by its very name: "localhost" or a loopback address, asking no DNS."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
