"""A web service as the judge of passwords.

It is sent `{"user", "password", "service", "remote", "secured"}` as JSON by POST, with our token if we have one (RFC 6750), and answers 200
with `{"result": "accepted" | "refused" | "disabled" | "expired"}`, and with "accepted" possibly `"user"` (how the account is spelled) and
`"addresses"` (what it may send as). Everything else is no answer: a 401 or 403 may as well be about our token, a page of a proxy about
nobody.
"""

from __future__ import annotations

import enum
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from upesi.config.accounts import SourceUrl
from upesi.config.settings import CredentialsSettings
from upesi.http.client import HttpClient, HttpFailed
from upesi.lookup.failures import LookupFailed
from upesi.lookup.judge import PasswordJudge
from upesi.lookup.private import read_secret
from upesi.lookup.trust import trusting
from upesi.sasl.credentials import Identity, Origin, Reason, Refused

if TYPE_CHECKING:
    from upesi.lookup.build import Surroundings

__all__ = ["WebSource", "make"]

# octets of an answer: a name and its addresses
_MAX_ANSWER = 65_536
_MAX_NAME = 255
_MAX_ADDRESSES = 1_000


class _Result(enum.Enum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    DISABLED = "disabled"
    EXPIRED = "expired"


class _Answer(msgspec.Struct, frozen=True):
    result: _Result
    user: str = ""
    addresses: tuple[str, ...] = ()


_REFUSALS = {
    _Result.REFUSED: Refused(),
    _Result.DISABLED: Refused(Reason.DISABLED),
    _Result.EXPIRED: Refused(Reason.EXPIRED),
}


def make(table: CredentialsSettings, url: SourceUrl, surroundings: Surroundings) -> WebSource:
    """Return the source; raise LookupFailed."""
    token = read_secret(Path(table.secret_file)) if table.secret_file else ""
    return WebSource(surroundings.web(), table.source, token, trusting(table), float(table.timeout))


class WebSource(PasswordJudge):
    """Raises LookupFailed, which `guard` makes an answer."""

    __slots__ = ("_client", "_context", "_headers", "_timeout", "_url")

    def __init__(self, client: HttpClient, url: str, token: str, context: ssl.SSLContext, timeout: float) -> None:
        self._client = client
        self._url = url
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._context = context
        self._timeout = timeout

    async def verify(self, user: str, password: str, origin: Origin) -> Identity | Refused:
        """Ask the service."""
        question = {
            "user": user,
            "password": password,
            "service": origin.service,
            "remote": origin.remote,
            "secured": origin.secured,
        }
        try:
            answer = await self._client.request(
                "POST",
                self._url,
                body=msgspec.json.encode(question),
                headers=self._headers,
                timeout=self._timeout,
                most=_MAX_ANSWER,
                context=self._context,
            )
        except HttpFailed as error:
            raise LookupFailed(str(error)) from None
        if answer.status != 200:
            raise LookupFailed(f"status {answer.status}")
        return _judged(answer.body, user)


def _judged(body: bytes, user: str) -> Identity | Refused:
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except msgspec.DecodeError:
        # without its cause: that shows what was in the answer
        raise LookupFailed("an answer that is not as agreed") from None
    if answer.result is not _Result.ACCEPTED:
        return _REFUSALS[answer.result]
    name = answer.user or user.lower()
    texts = (name, *answer.addresses)
    if len(texts) > _MAX_ADDRESSES or any(len(text) > _MAX_NAME or not text.isprintable() for text in texts):
        raise LookupFailed("an answer that is not as agreed")
    return Identity(name, answer.addresses)
