"""Asking the issuer about a token (RFC 7662): one request for each attempt, so that a token that was revoked is refused at once."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import msgspec

from upesi.sasl.credentials import Identity, Origin, Refused, Unavailable
from upesi.sasl.tokens.asking import Http, asked
from upesi.sasl.tokens.claims import ClaimRules, owner

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["IntrospectedTokens"]

_FORM = "application/x-www-form-urlencoded"


class IntrospectedTokens:
    """Tokens of one issuer, which is asked at `url` as `client` (its id and secret; "" for none)."""

    __slots__ = ("_headers", "_http", "_now", "_rules", "_timeout", "_url")

    def __init__(
        self,
        http: Http,
        url: str,
        client: tuple[str, str],
        rules: ClaimRules,
        *,
        timeout: float,
        now: Callable[[], float],
    ) -> None:
        self._http = http
        self._url = url
        self._rules = rules
        self._timeout = timeout
        self._now = now
        self._headers: Mapping[str, str] = {"Content-Type": _FORM, "Accept": "application/json"}
        if client[0]:
            # RFC 6749 section 2.3.1: both are form-encoded before they are joined
            both = ":".join(quote(part, safe="") for part in client)
            self._headers = {**self._headers, "Authorization": f"Basic {base64.b64encode(both.encode()).decode()}"}

    async def verify(self, token: str, user: str, origin: Origin) -> Identity | Refused | Unavailable:
        """Say whose `token` this is."""
        body = urlencode({"token": token, "token_type_hint": "access_token"}).encode()
        answer = await asked(self._http, "POST", self._url, body=body, headers=self._headers, timeout=self._timeout)
        if isinstance(answer, Unavailable):
            return answer
        try:
            claims = msgspec.json.decode(answer, type=dict[str, object])
        except msgspec.DecodeError:
            return Unavailable("the issuer's answer is no JSON object")
        except RecursionError:
            # claims deeper than anybody reads: owners write some of them, and a 454 would be a guess that does not count
            return Refused()
        # RFC 7662 section 2.2: a token that is not active has no other claims; only the word itself will do
        return owner(claims, self._rules, user, self._now()) if claims.get("active") is True else Refused()
