"""RFC 8617: the public suite of ARC tests, validation and signing (ValiMail's YAML; where it is not, the tests say so and do not run)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from unit.mailauth.dkimkit import Zone, answers
from upesi.mailauth.arc import ArcOutcome, ArcValidator
from upesi.mailauth.arc_sealing import arc_set
from upesi.mailauth.asking import answered_from
from upesi.mailauth.canonical import Canonicalization
from upesi.mailauth.fields import Fields
from upesi.mailauth.hashing import MessageHashing
from upesi.mailauth.keys import KeyCache
from upesi.mailauth.signature import BodyHash
from upesi.mailauth.signing import SignatureTerms, SigningKey

SUITE = Path(os.environ.get("UPESI_CONFORMANCE", Path(__file__).parents[3] / "shared/conformance"), "arc")
ABSENT = "absent: the public suite of ARC tests (UPESI_CONFORMANCE)"
BODY = BodyHash(Canonicalization.RELAXED)


class Case(NamedTuple):
    name: str
    test: dict[str, Any]
    zone: Zone
    scenario: dict[str, Any]

    @property
    def message(self) -> bytes:
        return str(self.test["message"]).replace("\n", "\r\n").encode()


def cases(file: str) -> list[Any]:
    path = SUITE / file
    if not path.exists():
        return [pytest.param(None, marks=pytest.mark.skip(reason=ABSENT), id="absent")]
    found = []
    for scenario in yaml.safe_load_all(path.read_text("utf-8")):
        zone = {name: str(record) for name, record in scenario["txt-records"].items()}
        found += [Case(name, test, zone, scenario) for name, test in scenario["tests"].items()]
    return [pytest.param(case, id=case.name) for case in found]


def validated(case: Case) -> ArcOutcome:
    validator = ArcValidator()
    validator.feed(case.message)
    validator.finish()
    return answered_from(validator.outcome(KeyCache()), lambda question: answers(case.zone, question))


@pytest.mark.parametrize("case", cases("arc-draft-validation-tests.yml"))
def test_chains_are_what_the_suite_says(case: Case) -> None:
    """C82: none, pass or fail, for each message of the suite. Two of them leave the result open, where the last seal says "fail"."""
    wanted = str(case.test["cv"]).lower()
    assert validated(case).result in ({wanted} if wanted else {"none", "fail"})


def words(text: str) -> str:
    return " ".join(text.split())


def tags(field: str) -> dict[str, str]:
    pairs = (spec.partition("=")[::2] for spec in field.rstrip("; \r\n\t").split(";"))
    return {name.strip(): "".join(value.split()) for name, value in pairs}


def results_of(fields: Fields, server: str) -> str:
    """What the fields of our server found, in one value (RFC 8617 section 4.1.1)."""
    found = [words(field.partition(b":")[2].decode()) for field in fields.named(b"authentication-results")]
    return "; ".join(
        [server, *(value.partition(";")[2].strip() for value in found if value.partition(";")[0] == server)]
    )


@pytest.mark.parametrize("case", cases("arc-draft-sign-tests.yml"))
def test_sets_are_made_as_the_suite_has_them(case: Case) -> None:
    """C82: the same instance, chain, digests and signatures, octet for octet; nothing where the chain is closed."""
    secret = load_pem_private_key(str(case.scenario["privatekey"]).encode(), None)
    assert isinstance(secret, RSAPrivateKey)
    key = SigningKey(case.scenario["domain"], case.scenario["sel"], secret)
    hashing = MessageHashing(lambda _: (BODY,))
    hashing.feed(case.message)
    hashing.finish()
    fields, body = hashing.fields, hashing.digest(BODY)
    assert fields is not None
    assert body is not None
    terms = SignatureTerms(signed=tuple(case.test["sig-headers"].encode().split(b":")), oversigned=())
    results = results_of(fields, case.test["srv-id"])
    made = arc_set(key, terms, fields, body, results, validated(case), int(case.test["t"]))
    if not case.test["AS"]:
        assert made == ()
        return
    seal, signature, found = (field.decode().removesuffix("\r\n").partition(":")[2] for field in made)
    assert words(found) == words(case.test["AAR"])
    assert tags(signature) == tags(case.test["AMS"])
    assert tags(seal) == tags(case.test["AS"])
