"""The ARC sets of a message, read (RFC 8617 sections 4.1 and 4.2): what of a chain can be judged without a key.

A set is one ARC-Authentication-Results (AAR), one ARC-Message-Signature (AMS) and one ARC-Seal (AS) of the same instance.
"""

from __future__ import annotations

import re

import msgspec

from upesi.mailauth.fields import Fields
from upesi.mailauth.signature import (
    MAX_SIGNED_NAMES,
    Signature,
    SignatureFault,
    algorithm_of,
    host_name,
    read_tags,
    require,
    signature_of,
    without_signature,
)
from upesi.mailauth.tags import TagError, base64_value, number_value

__all__ = ["MAX_SETS", "NAMES", "ArcSet", "Seal", "read_sets"]

# RFC 8617 section 4.2.1
MAX_SETS = 50

NAMES = (b"arc-authentication-results", b"arc-message-signature", b"arc-seal")

# section 4.1.1: arc-info = instance [CFWS] ";" authres-payload
_AAR_INSTANCE = re.compile(rb":[ \t\r\n]*i[ \t\r\n]*=[ \t\r\n]*(\d{1,4})[ \t\r\n]*;")
_INSTANCE = re.compile(r"\d{1,4}")


class Seal(msgspec.Struct, frozen=True):
    """What an ARC-Seal says. It is always `relaxed`, and signs sets and no body."""

    domain: str
    selector: str
    algorithm: str
    chain: str
    octets: bytes
    field: bytes

    @property
    def kind(self) -> str:
        """The type of key that it wants (k=)."""
        return self.algorithm.partition("-")[0]

    @property
    def key_name(self) -> str:
        """Where the key is."""
        return f"{self.selector}._domainkey.{self.domain}"

    @property
    def unsigned(self) -> bytes:
        """The field with an empty b=."""
        return without_signature(self.field)


class ArcSet(msgspec.Struct, frozen=True):
    """One set: the fields as they stand, and what they say. `results` is the payload of the AAR: an authserv-id and what it found."""

    instance: int
    results_field: bytes
    signature: Signature
    seal: Seal

    @property
    def results(self) -> str:
        """What stands behind the instance in the AAR, unfolded."""
        payload = self.results_field.partition(b":")[2].partition(b";")[2]
        return " ".join(payload.decode(errors="replace").split())


def read_sets(fields: Fields) -> list[ArcSet]:
    """Return the sets from the first to the last, none for a message without any; raise SignatureFault for what is no chain.

    A fault's `result` is "fail" for a chain that says so itself, and "permerror" for all else that is wrong.
    """
    found = [fields.named(name) for name in NAMES]
    most = max(len(each) for each in found)
    if not most:
        return []
    if most > MAX_SETS:
        raise SignatureFault("chain has more than 50 sets")
    results, signatures, seals = (_by_instance(each, name) for each, name in zip(found, NAMES, strict=True))
    last = len(seals)
    if not len(results) == len(signatures) == last or set(seals) != set(range(1, last + 1)):
        raise SignatureFault("chain has a gap")
    if set(results) != set(seals) or set(signatures) != set(seals):
        raise SignatureFault("chain has a gap")
    return [
        ArcSet(
            instance,
            results[instance],
            _message_signature(signatures[instance]),
            _seal(seals[instance], instance, last),
        )
        for instance in range(1, last + 1)
    ]


def highest_instance(fields: Fields) -> int:
    """Return the highest instance that any field of a chain has, however broken it is; 0 where there is none."""
    highest = 0
    for name in NAMES:
        for field in fields.named(name):
            try:
                highest = max(highest, _instance(field, name))
            except SignatureFault:
                continue
    return highest


def says_fail(fields: Fields) -> bool:
    """Whether the last seal says that the chain had failed already: then nobody adds to it (section 5.1 step 2)."""
    last, chain = 0, ""
    for field in fields.named(b"arc-seal"):
        try:
            tags = read_tags(field)
            instance = _instance(field, b"arc-seal")
        except SignatureFault:
            continue
        if instance > last:
            last, chain = instance, tags.get("cv", "")
    return chain == "fail"


def _by_instance(fields: list[bytes], name: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for field in fields:
        instance = _instance(field, name)
        if instance in found:
            raise SignatureFault("chain has an instance twice")
        found[instance] = field
    return found


def _instance(field: bytes, name: bytes) -> int:
    if name == NAMES[0]:
        match = _AAR_INSTANCE.search(field)
        # it stands right behind the name of the field
        if match is None or match.start() != field.find(b":"):
            raise SignatureFault("results have no instance")
        number = int(match[1])
    else:
        text = read_tags(field).get("i", "")
        if _INSTANCE.fullmatch(text) is None:
            raise SignatureFault("field of the chain has no instance")
        number = int(text)
    if not 1 <= number <= MAX_SETS:
        raise SignatureFault("instance is not one of 1 to 50")
    return number


def _message_signature(field: bytes) -> Signature:
    tags = read_tags(field)
    require(tags, "a", "b", "bh", "d", "s")
    if "h" not in tags:
        raise SignatureFault("signature has no h=")
    # more lenient than DKIM's: the public suite has an empty list, and an empty name in one
    names = tuple(name for name in "".join(tags["h"].split()).lower().encode().split(b":") if name)
    if len(names) > MAX_SIGNED_NAMES:
        raise SignatureFault("list of signed fields is too long")
    if b"arc-seal" in names:
        # section 4.1.2
        raise SignatureFault("message signature covers a seal")
    domain = host_name(tags["d"], "d")
    # RFC 8617 leaves c= to DKIM, where `simple` is the default; those who wrote the RFC sign `relaxed`, and their suite asks for it
    return signature_of(field, tags, domain, f"@{domain}", names, "relaxed/relaxed")


def _seal(field: bytes, instance: int, last: int) -> Seal:
    tags = read_tags(field)
    require(tags, "a", "b", "cv", "d", "s")
    if "h" in tags:
        # section 4.1.3
        raise SignatureFault("seal names fields")
    _check_chain(tags["cv"], instance, last)
    try:
        if "t" in tags:
            number_value(tags["t"])
        octets = base64_value(tags["b"])
    except TagError as error:
        raise SignatureFault(f"seal: {error}") from None
    return Seal(
        host_name(tags["d"], "d"), host_name(tags["s"], "s"), algorithm_of(tags["a"]), tags["cv"], octets, field
    )


def _check_chain(chain: str, instance: int, last: int) -> None:
    """Make sure that cv= is "none" in the first seal and "pass" in all others (section 5.2 steps 2 and 3)."""
    if chain == "fail" and instance == last:
        raise SignatureFault("chain had failed before", "fail")
    if chain != ("none" if instance == 1 else "pass"):
        raise SignatureFault("seal has a cv= that cannot be")
