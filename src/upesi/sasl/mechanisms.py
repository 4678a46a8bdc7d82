"""The table of mechanisms: what each needs of the link and of a source, and how it begins.

Everything that depends on a mechanism's name is in this table; its order is that of the announcement, the strongest first, since clients
that have no opinion take the first that they know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from upesi.sasl import passwords
from upesi.sasl.credentials import Ability
from upesi.sasl.steps import Steps

__all__ = ["MECHANISMS", "Circumstances", "Link", "Mechanism"]


class Link(msgspec.Struct, frozen=True):
    """What is known of the client's link.

    `secured`: it is TLS. `bindings`: channel bindings by name (RFC 5929, RFC 9266), as far as the TLS library gives them.
    `certificate`: the verified identity of the client's certificate, "" where there is none.
    """

    secured: bool = False
    bindings: Mapping[str, bytes] = {}
    certificate: str = ""


class Circumstances(msgspec.Struct, frozen=True):
    """What a mechanism may use beside the client's words.

    `random` gives that many octets no one can guess; `secret` is this server's own (it makes up keys for users that do not exist);
    `now` is the wall clock in seconds.
    """

    link: Link
    hostname: str
    random: Callable[[int], bytes]
    secret: bytes
    now: float

    def __repr__(self) -> str:
        return "Circumstances()"


Begin = Callable[[bytes | None, Circumstances], Steps]


class Mechanism(msgspec.Struct, frozen=True):
    """One row.

    `ability` is what a source must serve, None where a verifier of tokens does. `binding`: only where the link has a channel binding;
    `certificate`: only where the client has shown one. `password`: a plugin can judge it, since the password itself comes.
    """

    name: str
    begin: Begin
    ability: Ability | None
    binding: bool = False
    certificate: bool = False
    password: bool = False


def _table(*mechanisms: Mechanism) -> MappingProxyType[str, Mechanism]:
    return MappingProxyType({mechanism.name: mechanism for mechanism in mechanisms})


MECHANISMS = _table(
    Mechanism("PLAIN", lambda initial, _: passwords.plain(initial), Ability.VERIFY, password=True),
    Mechanism("LOGIN", lambda initial, _: passwords.login(initial), Ability.VERIFY, password=True),
)
