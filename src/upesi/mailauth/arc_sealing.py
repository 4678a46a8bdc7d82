"""Adding a set to an ARC chain (RFC 8617 section 5.1): what we found, a signature of the message as it leaves, and a seal over all sets."""

from __future__ import annotations

import base64
import hashlib

from upesi.mail.headers import header_field
from upesi.mailauth.arc import ArcOutcome
from upesi.mailauth.arc_sets import MAX_SETS, read_sets
from upesi.mailauth.canonical import relaxed_field
from upesi.mailauth.fields import Fields, fields_digest
from upesi.mailauth.hashing import BodyDigest
from upesi.mailauth.signing import (
    OVERSIGNED,
    SIGNED,
    SignatureTerms,
    SigningKey,
    folded,
    folded_base64,
    signed_names,
)

__all__ = ["ARC_TERMS", "arc_set"]

# What DKIM signs, and the DKIM signatures (section 4.1.2). Not Authentication-Results, which hops take out, nor any seal
ARC_TERMS = SignatureTerms(signed=(*SIGNED, b"dkim-signature"), oversigned=OVERSIGNED)


def arc_set(
    key: SigningKey,
    terms: SignatureTerms,
    fields: Fields,
    body: BodyDigest,
    results: str,
    outcome: ArcOutcome,
    now: int,
) -> tuple[bytes, ...]:
    """Return the fields of a new set, to be put on top of a message in this order; none for a chain that nobody is to add to.

    `fields` and `body` are of the message as it leaves; `outcome` is what its chain was when it came; `results` is the value of an
    Authentication-Results field. Raise NotSignable, and ValueError for results that no header can hold.
    """
    instance = outcome.sets + 1
    if outcome.closed or instance > MAX_SETS:
        return ()
    chain = {"none": "none", "pass": "pass"}.get(outcome.result, "fail")
    found = header_field("ARC-Authentication-Results", f"i={instance}; {results}", utf8=not results.isascii())
    signature = _message_signature(key, terms, fields, body, instance, now)
    # section 5.1.2: a seal over a broken chain covers its own set only
    signed = _earlier(fields) if chain == "pass" else []
    signed += [found.removesuffix(b"\r\n"), signature]
    start = f"ARC-Seal: a={key.algorithm};\r\n\tb=".encode()
    end = f"; cv={chain};\r\n\td={key.domain}; i={instance};\r\n\ts={key.selector}; t={now}".encode()
    digest = hashlib.sha256(b"\r\n".join(relaxed_field(field) for field in (*signed, start + end))).digest()
    seal = start + folded_base64(key.sign(digest)) + end
    return seal + b"\r\n", signature + b"\r\n", found


def _message_signature(
    key: SigningKey, terms: SignatureTerms, fields: Fields, body: BodyDigest, instance: int, now: int
) -> bytes:
    names = signed_names(fields, terms.signed, terms.oversigned)
    start = f"ARC-Message-Signature: a={key.algorithm};\r\n\tb=".encode()
    # A blank before i=, not a tab: dkimpy, with which mailing lists validate, looks for the set's field by " i=1;"
    end = ";\r\n ".join(
        (
            f"; bh={base64.b64encode(body.digest).decode()}",
            f"c={terms.header.value}/{terms.body.value}; d={key.domain}",
            folded("h=" + b":".join(names).decode()),
            f"i={instance}; s={key.selector}; t={now}",
        )
    ).encode()
    digest = fields_digest(fields, names, start + end, terms.header)
    # On one line, of 700 octets at most: the seal covers this value with the blanks in it, and the public suite has none
    return start + base64.b64encode(key.sign(digest)) + end


def _earlier(fields: Fields) -> list[bytes]:
    """Return the fields of the sets that are there, in the order in which seals sign them."""
    found = []
    for each in read_sets(fields):
        found += [each.results_field, each.signature.field, each.seal.field]
    return found
