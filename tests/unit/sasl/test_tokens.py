"""Bearer tokens: the issuer's word, its signature, and everything that is no proof (AUT-09)."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from upesi.config.settings import OauthSettings
from upesi.http.client import HttpAnswer, HttpFailed
from upesi.sasl.credentials import Identity, Origin, Refused, Unavailable
from upesi.sasl.tokens.claims import ClaimRules, owner
from upesi.sasl.tokens.introspection import IntrospectedTokens
from upesi.sasl.tokens.signed import SignedTokens

NOW = 1_800_000_000.0
RULES = ClaimRules(names=("email", "sub"), issuer="https://issuer.example", audience="smtp", scope="mail")
CLAIMS: dict[str, Any] = {
    "iss": "https://issuer.example",
    "aud": "smtp",
    "scope": "openid mail",
    "exp": NOW + 60,
    "email": "anna@example.org",
    "sub": "4711",
}
ANNA = Identity("anna@example.org")
HERE = Origin()


def without(*names: str, **changed: Any) -> dict[str, Any]:
    return {key: value for key, value in {**CLAIMS, **changed}.items() if key not in names}


class FakeHttp:
    """Answers in turn, the last one for ever; `requests` is what was asked."""

    def __init__(self, *answers: HttpAnswer | HttpFailed) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, str, bytes, dict[str, str]]] = []

    async def request(
        self, method: str, url: str, *, body: bytes = b"", headers: Any = None, timeout: float
    ) -> HttpAnswer:
        self.requests.append((method, url, body, dict(headers or {})))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, HttpFailed):
            raise answer
        return answer


def nested(value: dict[str, Any]) -> bytes:
    """Return JSON that goes deeper than any reader of it."""
    deep = "[" * 20_000 + "]" * 20_000
    return json.dumps({**value, "deep": None}).replace("null", deep).encode()


def said(value: object, status: int = 200) -> HttpAnswer:
    return HttpAnswer(status, {}, value if isinstance(value, bytes) else json.dumps(value).encode())


# -- claims


@pytest.mark.parametrize(
    "claims",
    [
        CLAIMS,
        without(aud=["other", "smtp"]),
        without(exp=NOW - 29),
        without(nbf=NOW + 29),
        without("scope", scp=["mail"]),
        without("email", sub="anna@example.org"),
        without(email="anna@example.org", email_verified=True),
        without(email="anna@example.org", email_verified="true"),
    ],
)
def test_claims_that_hold(claims: dict[str, Any]) -> None:
    """RFC 7519 section 4.1: time with leeway, issuer, audience, scope; the first name that is there."""
    assert owner(claims, RULES, "", NOW) == ANNA
    assert owner(claims, RULES, "Anna@example.org", NOW) == ANNA


@pytest.mark.parametrize(
    "claims",
    [
        {},
        without("exp"),
        without(exp=NOW - 31),
        without(exp="never"),
        without(exp=True),
        without(exp=float("nan")),
        without(nbf=NOW + 31),
        without(nbf="soon"),
        without("iss"),
        without(iss="https://issuer.example.evil.test"),
        without("aud"),
        without(aud="imap"),
        without(aud=["imap"]),
        without(aud={"smtp": 1}),
        without("scope"),
        without(scope="mailbox"),
        without("email", "sub"),
        without("sub", email=""),
        without("sub", email=17),
        without("sub", email="an\x00na"),
        without("sub", email="a" * 300),
        without("sub", email_verified=False),
        *(
            without("sub", email_verified=word)
            for word in ("false", "False", "", "no", "yes", 0, 1, 1.0, None, [], [True], {})
        ),
        # the next name is not tried: an owner who could not prove the address could call himself by it there
        without(email_verified=False),
        without(email_verified="false", sub="anna@example.org"),
        without(email="x@evil.example", email_verified=0, sub="anna@example.org"),
    ],
)
def test_claims_that_do_not_hold(claims: dict[str, Any]) -> None:
    """AUT-09: expired, early, another's, for another, without scope, of nobody."""
    assert owner(claims, RULES, "", NOW) == Refused()


@pytest.mark.parametrize("names", [("sub", "email"), ("preferred_username", "email")])
def test_an_unverified_email_is_no_name_behind_another_either(names: tuple[str, ...]) -> None:
    """AUT-09: the user that the client names cannot be found in an address that its owner only claims to have."""
    claims = without(preferred_username="4711", email_verified="false")
    rules = ClaimRules(names=names)
    assert owner(claims, rules, "", NOW) == Identity("4711")
    assert owner(claims, rules, "anna@example.org", NOW) == Refused()


def test_by_default_only_the_email_names_the_account() -> None:
    """AUT-09: at many issuers people choose their preferred_username themselves, and sub can look like an address."""
    rules = ClaimRules(names=OauthSettings().names)
    assert owner(without(email_verified=True), rules, "", NOW) == ANNA
    for claims in (
        without(email="evil@example.net", email_verified=False, preferred_username="anna@example.org"),
        without("email", preferred_username="anna@example.org", sub="anna@example.org"),
    ):
        assert owner(claims, rules, "", NOW) == Refused()
        assert owner(claims, rules, "anna@example.org", NOW) == Refused()


def test_the_token_must_be_the_users() -> None:
    """RFC 7628 section 3.1: who the client says it is must be one of the token's own names."""
    assert owner(CLAIMS, RULES, "4711", NOW) == ANNA
    assert owner(CLAIMS, RULES, "bert@example.org", NOW) == Refused()


# -- the issuer's word


def introspected(http: FakeHttp, client: tuple[str, str] = ("upesi", "s:e c")) -> IntrospectedTokens:
    return IntrospectedTokens(http, "https://issuer.example/introspect", client, RULES, timeout=5, now=lambda: NOW)


async def test_the_issuer_is_asked() -> None:
    """RFC 7662 section 2.1: a POST with the token in its body, never in the URL; we say who asks."""
    http = FakeHttp(said({"active": True, **CLAIMS}))
    assert await introspected(http).verify("to+k/en=", "", HERE) == ANNA
    method, url, body, headers = http.requests[0]
    assert (method, url) == ("POST", "https://issuer.example/introspect")
    assert parse_qs(body.decode()) == {"token": ["to+k/en="], "token_type_hint": ["access_token"]}
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"upesi:s%3Ae%20c"
    anonymous = FakeHttp(said({"active": True, **CLAIMS}))
    await introspected(anonymous, ("", "")).verify("token", "", HERE)
    assert "Authorization" not in anonymous.requests[0][3]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (said({"active": False, **CLAIMS}), Refused),
        (said({"active": "true", **CLAIMS}), Refused),
        (said({"active": 1, **CLAIMS}), Refused),
        (said(CLAIMS), Refused),
        (said({"active": True, **without("exp")}), Refused),
        (said(nested({"active": True, **CLAIMS})), Refused),
        (said([True]), Unavailable),
        (said(b"<html>"), Unavailable),
        (said(b""), Unavailable),
        (said({"active": True, **CLAIMS}, status=401), Unavailable),
        (said({"active": True, **CLAIMS}, status=302), Unavailable),
        (HttpFailed("no answer in time"), Unavailable),
    ],
)
async def test_what_is_not_surely_active_lets_nobody_in(answer: Any, outcome: type) -> None:
    """AUT-07, AUT-09: only a 200 with "active": true is a yes; trouble is no guess of the client's."""
    found = await introspected(FakeHttp(answer)).verify("secret-token", "", HERE)
    assert isinstance(found, outcome)
    assert "secret-token" not in repr(found)


# -- signatures

RSA, OTHER_RSA = (rsa.generate_private_key(65537, 2048) for _ in range(2))
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def jwk(key: Any, algorithm: str, kid: str | None, **more: str) -> dict[str, str]:
    public = json.loads(jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key()))
    return {**public, "alg": algorithm, **({} if kid is None else {"kid": kid}), **more}


KEYS = {
    "keys": [jwk(RSA, "RS256", "r"), jwk(EC, "ES256", "e"), jwk(ED, "EdDSA", "d"), {"kty": "unheard-of", "kid": "x"}]
}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def signed(http: FakeHttp, clock: Clock | None = None) -> SignedTokens:
    return SignedTokens(
        http, "https://issuer.example/keys", RULES, timeout=5, now=lambda: NOW, monotonic=clock or Clock()
    )


def token(key: Any = RSA, algorithm: str = "RS256", kid: str | None = "r", claims: dict[str, Any] | None = None) -> str:
    return jwt.encode(claims or CLAIMS, key, algorithm, headers=None if kid is None else {"kid": kid})


@pytest.mark.parametrize(("key", "algorithm", "kid"), [(RSA, "RS256", "r"), (EC, "ES256", "e"), (ED, "EdDSA", "d")])
async def test_signed_tokens(key: Any, algorithm: str, kid: str) -> None:
    """RFC 7519, RFC 7517: verified with the issuer's published key, fetched once."""
    http = FakeHttp(said(KEYS))
    verifier = signed(http)
    for _ in range(3):
        assert await verifier.verify(token(key, algorithm, kid), "anna@example.org", HERE) == ANNA
    assert [request[:2] for request in http.requests] == [("GET", "https://issuer.example/keys")]


def forged(header: dict[str, Any], claims: dict[str, Any] | None = None, signature: bytes = b"") -> str:
    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).decode().rstrip("=")

    return ".".join((part(json.dumps(header).encode()), part(json.dumps(claims or CLAIMS).encode()), part(signature)))


def confused() -> str:
    """A token whose shared secret is the issuer's public key: it verifies wherever the token may say how it is verified."""
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    unsigned = forged({"alg": "HS256", "kid": "r"}).rpartition(".")[0]
    digest = hmac.digest(RSA.public_key().public_bytes(*form), unsigned.encode(), "sha256")
    return f"{unsigned}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "abc",
        "a.b.c",
        forged({"alg": "none", "kid": "r"}),
        forged({"alg": "None", "kid": "r"}),
        forged({"alg": "RS256", "kid": "r"}),
        forged({"alg": "RS256", "kid": "r"}, signature=b"x" * 256),
        forged({"alg": ["RS256"], "kid": "r"}),
        forged({"alg": "RS256", "kid": 7}),
        forged({"kid": "r"}),
        token(OTHER_RSA),
        token(EC, "ES256", "r"),
        token(RSA, "RS256", "e"),
        token(RSA, "PS256", "r"),
        confused(),
        token(claims=without(exp=NOW - 3600)),
        token(claims=without(aud="imap")),
        token(claims=without(iss="https://other.example")),
        token().rpartition(".")[0] + ".",
        token() + "A",
        token()[:-3] + "AAA",
        token(claims=without(email="bert@example.org")).split(".")[1].join([token().split(".")[0] + ".", "." + token().split(".")[2]]),
    ],
)  # fmt: skip
async def test_tokens_that_prove_nothing(given: str) -> None:
    """AUT-09, RFC 8725: alg=none, keys of another, shared secrets made of public keys, changed claims, expired, wrong aud."""
    assert await signed(FakeHttp(said(KEYS))).verify(given, "", HERE) == Refused()


@pytest.mark.parametrize("header", [nested({"alg": "RS256", "kid": "r"}), b"[" * 50_000, b'{"alg":' + b"9" * 50_000])
async def test_a_header_that_nests_deeply_is_the_clients_guess(header: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """AUT-09: what the client wrote is refused and counts; it is no trouble of ours, whichever way PyJWT reports it."""
    given = base64.urlsafe_b64encode(header).decode().rstrip("=") + token()[token().index(".") :]
    verifier = signed(FakeHttp(said(KEYS)))
    assert await verifier.verify(given, "", HERE) == Refused()
    assert await verifier.verify("\udc80.a.b", "", HERE) == Refused()

    def sinks(token: str) -> dict[str, Any]:
        raise RecursionError

    # a release of PyJWT that lets it through
    monkeypatch.setattr(jwt, "get_unverified_header", sinks)
    assert await verifier.verify(given, "", HERE) == Refused()


async def test_claims_that_nest_deeply_are_refused() -> None:
    """AUT-09: a signed token of a user's own making must not end in 454, which counts as no guess."""
    payload = base64.urlsafe_b64encode(nested(CLAIMS)).rstrip(b"=").decode()
    head = token().partition(".")[0]
    algorithm = jwt.get_algorithm_by_name("RS256")
    signature = base64.urlsafe_b64encode(algorithm.sign(f"{head}.{payload}".encode(), RSA)).rstrip(b"=").decode()
    assert await signed(FakeHttp(said(KEYS))).verify(f"{head}.{payload}.{signature}", "", HERE) == Refused()


async def test_a_new_key_is_fetched_and_a_made_up_one_not_over_and_over() -> None:
    """A name that is not known fetches anew, at most once a minute: names are anybody's to make up."""
    clock = Clock()
    http = FakeHttp(said({"keys": [jwk(RSA, "RS256", "r")]}), said(KEYS))
    verifier = signed(http, clock)
    assert await verifier.verify(token(), "", HERE) == ANNA
    for _ in range(5):
        assert await verifier.verify(token(kid="made up"), "", HERE) == Refused()
    assert len(http.requests) == 1
    clock.now += 61
    assert await verifier.verify(token(EC, "ES256", "e"), "", HERE) == ANNA
    assert len(http.requests) == 2


async def test_old_keys_are_fetched_anew_and_used_while_they_cannot_be() -> None:
    """An issuer that is down for an hour locks nobody out; one that is down for a day does."""
    clock = Clock()
    http = FakeHttp(said(KEYS), HttpFailed("down"))
    verifier = signed(http, clock)
    assert await verifier.verify(token(), "", HERE) == ANNA
    clock.now += 3700
    assert await verifier.verify(token(), "", HERE) == ANNA
    assert len(http.requests) == 2
    clock.now += 90_000
    assert isinstance(await verifier.verify(token(), "", HERE), Unavailable)


async def test_a_key_that_was_withdrawn_is_of_no_use() -> None:
    """RFC 7517: what the issuer no longer publishes no longer verifies, once keys are fetched anew."""
    clock = Clock()
    verifier = signed(FakeHttp(said(KEYS), said({"keys": [jwk(EC, "ES256", "e")]})), clock)
    assert await verifier.verify(token(), "", HERE) == ANNA
    clock.now += 3700
    assert await verifier.verify(token(), "", HERE) == Refused()


@pytest.mark.parametrize(
    "answer",
    [
        HttpFailed("down"),
        said(KEYS, status=500),
        said(b"junk"),
        said({"keys": []}),
        said({"keys": "none"}),
        said(nested(KEYS)),
        said({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "r"}]}),
        said({"keys": [jwk(RSA, "RS256", "r", use="enc")]}),
    ],
)
async def test_without_keys_nobody_is_let_in(answer: Any) -> None:
    """AUT-07: no keys, no answer."""
    assert isinstance(await signed(FakeHttp(answer)).verify(token(), "", HERE), Unavailable)


async def test_one_fetch_serves_all_who_wait() -> None:
    """A burst of logins asks the issuer once."""

    http = FakeHttp(said(KEYS))
    verifier = signed(http)
    found = await asyncio.gather(*(verifier.verify(token(), "", HERE) for _ in range(20)))
    assert set(found) == {ANNA}
    assert len(http.requests) == 1
