"""Whether a server's certificate is for whom we want to speak to (RFC 9525, RFC 6125; for mail RFC 7817). Pure.

Names are looked for in subjectAltName only (C103): the common name is no name of a service. A wildcard is the whole left-most label and
stands for exactly one (RFC 9525 section 6.3), never directly below a top-level domain.

Which names are right is the policy's. DNS is no witness: whoever forges an MX record names a host for which he has a certificate. So
where nothing else is said, the certificate must be for the next-hop domain itself, or a name below it (RFC 7817 section 3: the domain
part of the address is a reference identifier; a name from an unsigned MX record is none), or for the host that the operator wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

__all__ = ["MX_NAME", "bears", "certificate_names", "is_address", "spoken", "wanted_names"]

# in a policy's names: the name of the host as DNS gave it. It protects from eavesdroppers and from wrong servers, not from forged DNS
MX_NAME = "mx"

# Names of a certificate that are looked at; those of the largest hosters hold some hundreds (TLS-12)
MAX_NAMES = 1000
# Of which so many are told where none is right, each cut to the length that a label may have
SPOKEN_NAMES = 3
SPOKEN_LENGTH = 63

_UNPRINTABLE = re.compile(r"[^a-z0-9.:*_-]")


def wanted_names(names: tuple[str, ...], domain: str, host: str) -> tuple[str, ...]:
    """Return what a certificate may be for: what the policy names, else the next-hop `domain` and what is below it, else `host`."""
    if names:
        return tuple(host if name == MX_NAME else name for name in names)
    return (domain, "." + domain) if domain else (host,)


def certificate_names(certificate: Mapping[str, object] | None) -> tuple[str, ...]:
    """Return DNS names and addresses of a certificate as `ssl` parses it."""
    entries = certificate.get("subjectAltName", ()) if certificate else ()
    assert isinstance(entries, tuple)
    return tuple(str(value).lower() for kind, value in entries[:MAX_NAMES] if kind in ("DNS", "IP Address"))


def spoken(presented: tuple[str, ...]) -> str:
    """Return the names of a certificate for people: a few, and of each what can be printed. They are the server's words."""
    names = [_UNPRINTABLE.sub("?", name[:SPOKEN_LENGTH]) for name in presented[:SPOKEN_NAMES]]
    more = len(presented) - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "") if names else "no name of a host"


def bears(presented: Iterable[str], wanted: Iterable[str]) -> bool:
    """Whether one of the `presented` names is one of those `wanted`."""
    names = tuple(presented)
    return any(_is(name, want) for want in wanted for name in names)


def _is(name: str, want: str) -> bool:
    want = want.lower().rstrip(".")
    if want.startswith("."):
        # what a wildcard stands for lies below it too
        return name.removeprefix("*").endswith(want) and not is_address(name)
    if name == want:
        return bool(want) and not want.startswith("*")
    if name.startswith("*."):
        _, _, parent = want.partition(".")
        return name[2:] == parent and "." in parent and not is_address(want)
    return _same_address(name, want)


def is_address(name: str) -> bool:
    """Whether `name` is an IP address and no name."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _same_address(name: str, want: str) -> bool:
    # "2001:DB8:0:0::1" and "2001:db8::1" are one
    try:
        return ip_address(name) == ip_address(want)
    except ValueError:
        return False
