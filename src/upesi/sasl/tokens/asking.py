"""One question over HTTP whose only good answer is a 200: what mechanisms' verifiers need of an HTTP client, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from upesi.mail.errors import UpesiError
from upesi.sasl.credentials import Unavailable

if TYPE_CHECKING:
    from upesi.http.client import HttpAnswer

__all__ = ["Http", "asked"]

_OK = 200


class Http(Protocol):
    """As much of `upesi.http.client.HttpClient` as is needed here."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float,
    ) -> HttpAnswer:
        """Return the answer; raise UpesiError where there is none."""
        ...


async def asked(
    http: Http, method: str, url: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None, timeout: float
) -> bytes | Unavailable:
    """Return the body of a 200; anything else is no answer (AUT-07)."""
    try:
        answer = await http.request(method, url, body=body, headers=headers, timeout=timeout)
    except UpesiError as error:
        return Unavailable(str(error))
    return answer.body if answer.status == _OK else Unavailable(f"the issuer answered {answer.status}")
