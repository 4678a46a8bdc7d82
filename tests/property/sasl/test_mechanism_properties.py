"""Every mechanism, against any octets: it goes on, ends in a Failure, or lets in whom the source let in; nothing else is raised."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.sasl.saslkit import ANNA, circumstances, play

from upesi.sasl.credentials import Refused, ScramKeys, SharedSecret, Unavailable
from upesi.sasl.mechanisms import MECHANISMS
from upesi.sasl.steps import Failure

KEYS = {
    "SCRAM-SHA-256": ScramKeys(ANNA, b"salt", 4096, b"s" * 32, b"k" * 32),
    "SCRAM-SHA-1": ScramKeys(ANNA, b"salt", 4096, b"s" * 20, b"k" * 20),
}
_WORDS = [
    b"\0", b"\x01", b",", b"=", b"n,,", b"y,,", b"p=tls-server-end-point,,", b"n=anna", b",r=", b"c=biws", b",p=", b"auth=Bearer ",
    b"user=", b"anna", b"m=", b"*", b"=2C", b"\xff", "é".encode(), "\u00ad".encode(), b"", b"abcdefghijklmnopqrstuvwx",
]  # fmt: skip
MESSAGES = st.one_of(st.binary(max_size=80), st.lists(st.sampled_from(_WORDS), max_size=12).map(b"".join))
ENDS = {failure.value for failure in Failure} | {"unfinished"}


@pytest.mark.parametrize("mechanism", list(MECHANISMS))
@given(
    initial=st.none() | MESSAGES,
    responses=st.lists(MESSAGES, max_size=4),
    answer=st.sampled_from(["no", "down", "none", "keys"]),
)
def test_no_octets_break_a_mechanism(
    mechanism: str, initial: bytes | None, responses: list[bytes], answer: str
) -> None:
    """AUT-02, AUT-07: octets parse or fail, and nobody is let in whom the source did not let in."""
    given_answer: Any = {
        "no": Refused(),
        "down": Unavailable("down"),
        "none": lambda _: None,
        "keys": KEYS.get(mechanism.removesuffix("-PLUS"), SharedSecret(ANNA, "never")),
    }[answer]
    here = circumstances(bindings={"tls-server-end-point": b"x"}, certificate=("anna",))
    played = play(mechanism, initial, responses, given_answer, here, whole=False)
    assert played.outcome in ENDS


@given(user=st.text(min_size=1, max_size=20), password=st.text(min_size=1, max_size=20))
def test_what_one_client_can_say_every_mechanism_says_alike(user: str, password: str) -> None:
    """RFC 4013: PLAIN and LOGIN ask for the same prepared pair, or both for none."""
    asked = [
        play("PLAIN", b"\0" + user.encode(errors="replace") + b"\0" + password.encode(errors="replace")),
        play("LOGIN", None, [user.encode(errors="replace"), password.encode(errors="replace")]),
    ]
    if "\0" not in user + password:
        assert asked[0].questions == asked[1].questions
        assert asked[0].outcome == asked[1].outcome


@given(
    password=st.binary(min_size=1, max_size=30),
    wrong=st.binary(min_size=1, max_size=30),
    nonce=st.from_regex(r"[!-+\--~]{1,30}", fullmatch=True),
)
def test_scram_is_right_for_one_password_only(password: bytes, wrong: bytes, nonce: str) -> None:
    """RFC 5802: the proof of a password fits its keys and no other's."""

    def salted(secret: bytes) -> bytes:
        return hashlib.pbkdf2_hmac("sha1", secret, b"salt", 1)

    def client_key(secret: bytes) -> bytes:
        return hmac.digest(salted(secret), b"Client Key", "sha1")

    stored = hashlib.sha1(client_key(password)).digest()
    keys = ScramKeys(ANNA, b"salt", 4096, stored, hmac.digest(salted(password), b"Server Key", "sha1"))

    def final(secret: bytes) -> Any:
        def respond(challenge: bytes) -> bytes:
            unproved = b"c=biws,r=" + challenge.split(b",s=")[0].removeprefix(b"r=")
            message = f"n=anna,r={nonce},".encode() + challenge + b"," + unproved
            signature = hmac.digest(hashlib.sha1(client_key(secret)).digest(), message, "sha1")
            proof = bytes(a ^ b for a, b in zip(client_key(secret), signature, strict=True))
            return unproved + b",p=" + base64.b64encode(proof)

        return respond

    first = f"n,,n=anna,r={nonce}".encode()
    assert play("SCRAM-SHA-1", first, [final(password), b""], keys).outcome == ANNA
    if salted(wrong) != salted(password):
        assert play("SCRAM-SHA-1", first, [final(wrong)], keys).outcome == "wrong credentials"
