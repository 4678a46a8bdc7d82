"""Tokens that are signed (JWT, RFC 7519, RFC 9068), verified with the issuer's published keys (RFC 7517). The only module that knows PyJWT.

Which algorithms are right is decided here and not by the token (RFC 8725 section 3.1): no "none", no shared secret in the place of a public
key. Keys are fetched when first needed and again when they are old, or when a token names one that is not among them; a stranger can
make up names, so not more often than once a minute. Keys that cannot be refreshed are used for a while longer: an issuer that is down
for an hour must not lock out those who hold its tokens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import jwt
import msgspec

from upesi.sasl.credentials import Identity, Origin, Refused, Unavailable
from upesi.sasl.tokens.asking import Http, asked
from upesi.sasl.tokens.claims import ClaimRules, owner

__all__ = ["MAX_KEYS", "SignedTokens"]

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
# issuers publish two or three; each costs a try where a token does not say which it needs
MAX_KEYS = 50
# seconds: between two fetches whatever is asked for, until keys are fetched anew, and until they are of no use
_LEAST_BETWEEN = 60.0
_FRESH = 3600.0
_USABLE = 86_400.0
# all that a token can bring about, with the depth of its JSON, which not every release of PyJWT minds: a wrong token, no trouble of ours
_CLIENTS_FAULT = (jwt.InvalidTokenError, jwt.InvalidKeyError, TypeError, ValueError, RecursionError)


class _KeySet(msgspec.Struct, frozen=True):
    """What was fetched, by key id; keys without one under ""."""

    keys: dict[str, jwt.PyJWK]
    fetched: float


class SignedTokens:
    """Tokens of one issuer, whose keys are at `url`. `rules` must name issuer and audience: a signature alone says little."""

    __slots__ = ("_asked", "_fetching", "_http", "_keys", "_monotonic", "_now", "_rules", "_timeout", "_url")

    def __init__(
        self,
        http: Http,
        url: str,
        rules: ClaimRules,
        *,
        timeout: float,
        now: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._http = http
        self._url = url
        self._rules = rules
        self._timeout = timeout
        self._now = now
        self._monotonic = monotonic
        self._keys: _KeySet | None = None
        self._asked = float("-inf")
        self._fetching = asyncio.Lock()

    async def verify(self, token: str, user: str, origin: Origin) -> Identity | Refused | Unavailable:
        """Say whose `token` this is."""
        try:
            header = jwt.get_unverified_header(token)
        except _CLIENTS_FAULT:
            return Refused()
        name, algorithm = header.get("kid", ""), header.get("alg")
        if algorithm not in ALGORITHMS or not isinstance(name, str):
            return Refused()
        key = await self._key(name)
        if not isinstance(key, jwt.PyJWK):
            return key
        try:
            # times, issuer and audience are judged by `owner`, as those of any token
            claims = jwt.decode(token, key, algorithms=[algorithm], options=_SIGNATURE_ONLY)
        except _CLIENTS_FAULT:
            return Refused()
        return owner(claims, self._rules, user, self._now())

    async def _key(self, name: str) -> jwt.PyJWK | Refused | Unavailable:
        known = self._keys
        stale = known is None or name not in known.keys or self._age(known) > _FRESH
        keys = await self._refreshed(name) if stale else known
        if not isinstance(keys, _KeySet):
            return keys or Refused()
        return keys.keys.get(name) or Refused()

    def _age(self, keys: _KeySet) -> float:
        return self._monotonic() - keys.fetched

    async def _refreshed(self, name: str) -> _KeySet | Unavailable:
        """Return keys that are as new as may be; one fetch serves all who wait for it."""
        async with self._fetching:
            known = self._keys
            if known is not None and name in known.keys and self._age(known) <= _FRESH:
                return known
            trouble = "the issuer's keys were asked for less than a minute ago"
            if self._monotonic() - self._asked >= _LEAST_BETWEEN:
                self._asked = self._monotonic()
                answer = await asked(self._http, "GET", self._url, headers=_JSON, timeout=self._timeout)
                fetched = _read(answer, self._monotonic()) if isinstance(answer, bytes) else answer
                if isinstance(fetched, _KeySet):
                    self._keys = fetched
                    return fetched
                trouble = fetched.cause
            return known if known is not None and self._age(known) <= _USABLE else Unavailable(trouble)


_JSON = {"Accept": "application/json"}
_SIGNATURE_ONLY: jwt.types.Options = {
    "verify_signature": True, "verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False, "verify_iss": False,
}  # fmt: skip


class _Published(msgspec.Struct):
    keys: list[dict[str, object]]


def _read(body: bytes, now: float) -> _KeySet | Unavailable:
    """Read a JWK set; keys that are not for signatures or that we cannot use are passed over (RFC 7517 section 5)."""
    try:
        published = msgspec.json.decode(body, type=_Published)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return Unavailable("the issuer's keys are no JWK set")
    keys: dict[str, jwt.PyJWK] = {}
    for entry in published.keys[:MAX_KEYS]:
        name = entry.get("kid", "")
        if isinstance(name, str) and entry.get("use", "sig") == "sig" and entry.get("kty") != "oct":
            try:
                keys.setdefault(name, jwt.PyJWK(entry))
            except (jwt.PyJWTError, TypeError, ValueError):
                continue
    return _KeySet(keys, now) if keys else Unavailable("the issuer has no key that we can use")
