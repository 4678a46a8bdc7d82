"""The table of mechanisms: what each needs of the link and of a source, and how it begins.

Everything that depends on a mechanism's name is in this table; its order is that of the announcement, the strongest first, since clients
that have no opinion take the first that they know.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import msgspec

from upesi.sasl import bearer, passwords
from upesi.sasl.circumstances import Circumstances
from upesi.sasl.crammd5 import cram_md5
from upesi.sasl.credentials import Ability
from upesi.sasl.external import external
from upesi.sasl.scram import Hash, scram
from upesi.sasl.steps import Steps

__all__ = ["MECHANISMS", "Mechanism"]


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


def _scram(hash: Hash, *, plus: bool) -> Mechanism:
    def begin(initial: bytes | None, here: Circumstances) -> Steps:
        return scram(hash, initial, here, plus=plus)

    return Mechanism(f"{hash.ability.value}{'-PLUS' if plus else ''}", begin, hash.ability, binding=plus)


_SHA_256 = Hash("sha256", Ability.SCRAM_SHA_256, 32)
_SHA_1 = Hash("sha1", Ability.SCRAM_SHA_1, 20)

MECHANISMS = _table(
    Mechanism("EXTERNAL", external, Ability.KNOWN, certificate=True),
    _scram(_SHA_256, plus=True),
    _scram(_SHA_256, plus=False),
    _scram(_SHA_1, plus=True),
    _scram(_SHA_1, plus=False),
    Mechanism("OAUTHBEARER", lambda initial, _: bearer.oauthbearer(initial), None),
    Mechanism("XOAUTH2", lambda initial, _: bearer.xoauth2(initial), None),
    Mechanism("PLAIN", lambda initial, _: passwords.plain(initial), Ability.VERIFY, password=True),
    Mechanism("LOGIN", lambda initial, _: passwords.login(initial), Ability.VERIFY, password=True),
    Mechanism("CRAM-MD5", cram_md5, Ability.SHARED_SECRET),
)
