"""Names that providers give to addresses by the thousand: dsl-192-0-2-1.pool.example says who the provider is, and not who sends.

A heuristic and no standard; what it finds is evidence, never proof. The lists are short on purpose: a mail server that is called
"static-192-0-2-1" was given that name by somebody who rents out servers.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, ip_address

__all__ = ["looks_generic", "same_site"]

_NUMBER = re.compile(r"\d+")
_DYNAMIC = re.compile(
    r"(?<![a-z])(?:adsl|broadband|cable|catv|dhcp|dial(?:in|up)?|dsl|dyn(?:amic|ip)?|ftth|pool|pppo?e?|vdsl|wifi|xdsl)(?![a-z])"
)
_STATIC = re.compile(r"(?<![a-z])static(?![a-z])")
# octets in a row that are no chance; one more than names with a version or a date in them have
_FEWEST = 3
# below a public suffix of two labels (co.uk) the site has three
_SHORT_LABEL = 3


def looks_generic(name: str, address: str) -> bool:
    """Whether `name` holds the address, or a word for clients that come and go; "static" in it speaks against the words."""
    name = name.lower()
    try:
        if _holds(name, address):
            return True
    except ValueError:
        # a client on a Unix socket has no address
        pass
    # the site itself may be called so: it sells the cables
    own = name.removesuffix(_site(name))
    return _DYNAMIC.search(own) is not None and _STATIC.search(own) is None


def _holds(name: str, address: str) -> bool:
    found = ip_address(address)
    if not isinstance(found, IPv4Address):
        shapes = (found.exploded.replace(":", ""), found.compressed.replace(":", "-"), found.exploded.replace(":", "-"))
        bare = re.sub(r"[.\-_]", "", name)
        nibbles = shapes[0]
        return nibbles in bare or nibbles[::-1] in bare or any(shape in name for shape in shapes[1:])
    octets = list(found.packed)
    numbers = [int(text) if len(text) <= _FEWEST else -1 for text in _NUMBER.findall(name)]
    if _runs(numbers, octets) or _runs(numbers, octets[::-1]):
        return True
    padded = "".join(f"{octet:03d}" for octet in octets)
    return padded in name or found.packed.hex() in name


def _runs(numbers: list[int], octets: list[int]) -> bool:
    """Whether three octets that follow each other in the address do so in the name."""
    runs = [octets[start : start + _FEWEST] for start in range(len(octets) - _FEWEST + 1)]
    return any(numbers[at : at + _FEWEST] in runs for at in range(len(numbers) - _FEWEST + 1))


def same_site(one: str, other: str) -> bool:
    """Whether two names belong to one site, as far as names alone can say."""
    return _site(one.lower()) == _site(other.lower())


def _site(name: str) -> str:
    labels = name.removesuffix(".").split(".")
    few = 3 if len(labels) > 2 and len(labels[-2]) <= _SHORT_LABEL else 2
    return ".".join(labels[-few:])
