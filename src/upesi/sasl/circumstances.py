"""What a mechanism may know of the world beside the client's words: the link, its own host, chance and time, all passed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

__all__ = ["Circumstances", "Link"]


class Link(msgspec.Struct, frozen=True):
    """What is known of the client's link.

    `secured`: it is TLS. `bindings`: channel bindings by name (RFC 5929, RFC 9266), as far as the TLS library gives them.
    `certificate`: the names in the client's certificate that may be accounts, () where there is none or it is not verified.
    """

    secured: bool = False
    bindings: Mapping[str, bytes] = MappingProxyType({})
    certificate: tuple[str, ...] = ()


class Circumstances(msgspec.Struct, frozen=True):
    """What a mechanism may use beside the client's words.

    `nonce` gives a word that no one can guess and that was never given before: 24 characters of base64. `secret` is this server's
    own (it makes up keys for users that do not exist); `now` is the wall clock in seconds.
    """

    link: Link
    hostname: str
    nonce: Callable[[], str]
    secret: bytes
    now: float

    def __repr__(self) -> str:
        return "Circumstances()"
