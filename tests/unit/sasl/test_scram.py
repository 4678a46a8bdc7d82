"""SCRAM against the vectors of RFC 5802 and RFC 7677, and against everything that somebody in between could change (AUT-08)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.sasl.saslkit import ANNA, HASHES, Play, circumstances, play
from tests.unit.sasl.saslkit import ScramClient as Client

from upesi.lookup import scram as lookup_scram
from upesi.sasl.credentials import Ability, Identity, Reason, Refused, ScramKeys, SharedSecret, Unavailable
from upesi.sasl.scram import FICTITIOUS_ITERATIONS
from upesi.sasl.steps import FetchKeys

END_POINT = b"hash of the certificate"


def keys(mechanism: str, password: str = "pencil", salt: bytes = b"salt", i: int = 4096, **changed: Any) -> ScramKeys:
    name = HASHES[mechanism.removesuffix("-PLUS")]
    salted = hashlib.pbkdf2_hmac(name, password.encode(), salt, i)
    stored = hashlib.new(name, hmac.digest(salted, b"Client Key", name)).digest()
    values = {"iterations": i, "stored_key": stored, "server_key": hmac.digest(salted, b"Server Key", name), **changed}
    return ScramKeys(identity=ANNA, salt=salt, **values)


def run(mechanism: str, client: Client, answer: Any = None, *, end: bytes | None = b"", **link: Any) -> Play:
    responses: list[Any] = [client.final] if end is None else [client.final, end]
    return play(
        mechanism, client.first, responses, keys(mechanism) if answer is None else answer, circumstances(**link)
    )


@pytest.mark.parametrize(
    ("mechanism", "nonce", "first", "salt", "server_first", "final", "verifier"),
    [
        (
            "SCRAM-SHA-1",
            "3rfcNHYJY1ZVvWVs7j",
            b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
            "QSXCR+Q6sek8bf92",
            b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ),
        (
            "SCRAM-SHA-256",
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            "W22ZaJ0SNY7soEsUEjb6gQ==",
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ),
    ],
)
def test_the_vectors_of_the_rfcs(
    mechanism: str, nonce: str, first: bytes, salt: str, server_first: bytes, final: bytes, verifier: bytes
) -> None:
    """RFC 5802 section 5 and RFC 7677 section 3, octet for octet."""
    stored = keys(mechanism, "pencil", base64.b64decode(salt))
    for initial, before in ((first, ()), (None, (first,))):
        played = play(mechanism, initial, (*before, final, b""), stored, circumstances(nonce))
        assert played.challenges[-2:] == [server_first, verifier]
        assert played.outcome == ANNA
    assert played.questions == [FetchKeys("user", Ability(mechanism))]


@pytest.mark.parametrize("mechanism", list(HASHES))
def test_right_and_wrong(mechanism: str) -> None:
    """RFC 5802: the right password lets in and is told our signature; a wrong one is wrong."""
    client = Client(mechanism)
    played = run(mechanism, client)
    assert played.challenges[1] == client.expected
    assert played.outcome == ANNA
    assert run(mechanism, Client(mechanism, password="pencils"), end=None).outcome == "wrong credentials"


@pytest.mark.parametrize("answer", [Refused(), Refused(Reason.DISABLED), Refused(Reason.EXPIRED)])
def test_an_unknown_user_is_played_to_the_end(answer: Any) -> None:
    """AUT-04, RFC 5802 section 9: unknown and closed accounts get salt and iterations, always the same, and are wrong only at the end."""
    plays = []
    for user in ("nobody", "nobody", "nobody2"):
        plays.append(run("SCRAM-SHA-256", Client("SCRAM-SHA-256", user=user), answer, end=None))
        assert plays[-1].outcome == "wrong credentials"
        assert f",i={FICTITIOUS_ITERATIONS}".encode() in plays[-1].challenges[0]
    assert plays[0].challenges == plays[1].challenges
    assert plays[0].challenges[0].split(b",")[1] != plays[2].challenges[0].split(b",")[1]
    nothing = play("SCRAM-SHA-256", Client("SCRAM-SHA-256", user="nobody").first, (), lambda _: None)
    assert nothing.challenges[0] == plays[0].challenges[0]


def test_made_up_keys_look_like_those_of_upesi_passwd() -> None:
    """AUT-04: the count of iterations and the length of the salt do not tell who exists."""
    real = lookup_scram.make(Identity("anna"), "pencil")
    fictitious = play("SCRAM-SHA-256", Client("SCRAM-SHA-256").first, (), lambda _: None).challenges[0].decode()
    parts = dict(part.split("=", 1) for part in fictitious.split(","))
    assert int(parts["i"]) == real.iterations
    assert len(base64.b64decode(parts["s"])) == len(real.salt)


@pytest.mark.parametrize(
    "stored",
    [
        keys("SCRAM-SHA-256", i=1),
        keys("SCRAM-SHA-256", iterations=1_000_000_000),
        keys("SCRAM-SHA-256", stored_key=b"short"),
        keys("SCRAM-SHA-256", server_key=b""),
        keys("SCRAM-SHA-256", salt=b""),
        keys("SCRAM-SHA-1"),
        SharedSecret(ANNA, "pencil"),
        Unavailable("down"),
    ],
)
def test_unusable_keys_let_nobody_in(stored: Any) -> None:
    """AUT-08, AUT-07: i=1, i=10^9 and keys of another hash are no answer."""
    played = play("SCRAM-SHA-256", Client("SCRAM-SHA-256").first, (), stored)
    assert played.outcome == "no answer"
    assert played.challenges == []


@pytest.mark.parametrize(
    "tampered",
    [
        lambda client, challenge: client.final(challenge, nonce=lambda nonce: nonce + "x"),
        lambda client, challenge: client.final(challenge, nonce=lambda nonce: nonce[:-1]),
        lambda client, challenge: client.final(challenge, nonce=lambda nonce: client.nonce),
        lambda client, challenge: client.final(challenge, proof=lambda proof: proof[:-1] + bytes([proof[-1] ^ 1])),
        lambda client, challenge: client.final(challenge, proof=lambda proof: proof[:-1]),
        lambda client, challenge: client.final(challenge, proof=lambda proof: proof + b"\0"),
        lambda client, challenge: client.final(challenge).replace(b"c=biws", b"c=eSws"),
        lambda client, challenge: client.final(challenge.replace(b"i=4096", b"i=4097")),
    ],
)
def test_what_was_changed_on_the_way_is_wrong(tampered: Callable[[Client, bytes], bytes]) -> None:
    """AUT-08: nonce, proof, channel binding and the server's first message are all under the proof."""
    client = Client("SCRAM-SHA-256")
    played = play("SCRAM-SHA-256", client.first, [lambda challenge: tampered(client, challenge)], keys("SCRAM-SHA-256"))
    assert played.outcome == "wrong credentials"


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"n,,",
        b"n=anna,r=x",
        b"n,,n=anna",
        b"n,,n=anna,r=",
        b"n,,n=anna,r=a b",
        b"n,,n=,r=x",
        b"n,,m=ext,n=anna,r=x",
        b"n,,n=an=na,r=x",
        b"n,,n=an=2cna,r=x",
        b"x,,n=anna,r=x",
        b"p=,,n=anna,r=x",
        b"n,anna,n=anna,r=x",
        b"n,,n=an\0na,r=x",
        b"n,,n=\xff,r=x",
        b"n,,n=anna,r=" + b"x" * 513,
        b"n,,n=" + b"u" * 256 + b",r=x",
        b"n,,n=anna,r=x\n",
    ],
)
def test_a_first_message_that_is_none(first: bytes) -> None:
    """RFC 5802 section 7: what the grammar does not have is malformed; a mandatory extension is one that we do not have."""
    played = play("SCRAM-SHA-256", first)
    assert played.outcome == "malformed"
    assert played.questions == []


@pytest.mark.parametrize(
    "final", [b"", b"c=biws", b"c=biws,r=x", b"c=biws,r=x,p=", b"c=biws,r=x,p=*", b"c=b,r=x,p=AAAA", b"c=biws,p=AAAA"]
)
def test_a_final_message_that_is_none(final: bytes) -> None:
    """RFC 5802 section 7: likewise; a well-formed one with a foreign nonce is wrong."""
    outcome = play("SCRAM-SHA-256", b"n,,n=anna,r=x", [final], keys("SCRAM-SHA-256")).outcome
    assert outcome in ("malformed", "wrong credentials")
    assert outcome == "malformed" or final.count(b",") == 2


def test_names_are_unescaped_and_extensions_passed_over() -> None:
    """RFC 5802 section 5.1: "=2C" and "=3D" in names; optional extensions are ignored, and are under the proof."""
    client = Client("SCRAM-SHA-256")
    client.bare = f"n=a=2Cb=3Dc,r={client.nonce},x=something"
    played = run("SCRAM-SHA-256", client)
    assert played.questions == [FetchKeys("a,b=c", Ability.SCRAM_SHA_256)]
    assert played.outcome == ANNA


@pytest.mark.parametrize(("authzid", "allowed"), [("anna@example.org", True), ("bert", False)])
def test_nobody_acts_as_another_by_scram(authzid: str, allowed: bool) -> None:
    """RFC 5802 section 5.1: the authzid is one of the account's names or refused."""
    outcome = run("SCRAM-SHA-256", Client("SCRAM-SHA-256", header=f"n,a={authzid},")).outcome
    assert outcome == (ANNA if allowed else "wrong credentials")


def test_an_answer_behind_the_end_is_malformed() -> None:
    """RFC 4954 section 4: the server's signature is acknowledged by an empty response."""
    assert run("SCRAM-SHA-256", Client("SCRAM-SHA-256"), end=b"x").outcome == "malformed"


BOUND = {"tls-server-end-point": END_POINT}


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"])
def test_plus_binds_to_the_link(mechanism: str) -> None:
    """RFC 5802 section 6: the channel's octets are ours, or the proof is worth nothing: somebody stands in between."""
    header = "p=tls-server-end-point,,"
    good = Client(mechanism, header=header, binding=END_POINT)
    assert run(mechanism, good, bindings=BOUND).outcome == ANNA
    for binding in (b"", b"the certificate of somebody in between"):
        bad = Client(mechanism, header=header, binding=binding)
        assert run(mechanism, bad, end=None, bindings=BOUND).outcome == "wrong credentials"


@pytest.mark.parametrize(
    ("mechanism", "header", "bindings"),
    [
        ("SCRAM-SHA-256", "y,,", BOUND),
        ("SCRAM-SHA-256", "p=tls-server-end-point,,", BOUND),
        ("SCRAM-SHA-256-PLUS", "n,,", BOUND),
        ("SCRAM-SHA-256-PLUS", "y,,", BOUND),
        ("SCRAM-SHA-256-PLUS", "p=tls-unique,,", BOUND),
        ("SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,", {}),
    ],
)
def test_a_binding_that_was_taken_away_is_noticed(mechanism: str, header: str, bindings: dict[str, bytes]) -> None:
    """AUT-08: a downgrade of an offered -PLUS ends the exchange before anybody is asked."""
    played = play(mechanism, Client(mechanism, header=header).first, (), here=circumstances(bindings=bindings))
    assert played.outcome == "wrong credentials"
    assert played.questions == []


def test_a_client_that_could_bind_is_let_in_where_we_cannot() -> None:
    """RFC 5802 section 6: "y" is right where no -PLUS is offered."""
    assert run("SCRAM-SHA-256", Client("SCRAM-SHA-256", header="y,,")).outcome == ANNA
