"""What `[auth]` may say: values that are right each by itself and make no sense together."""

from __future__ import annotations

from collections.abc import Iterator

from upesi.config.problems import KeyPath
from upesi.config.settings import AuthSettings, OauthSettings

__all__ = ["check_auth"]

Found = Iterator[tuple[KeyPath, str]]


def check_auth(auth: AuthSettings) -> Found:
    """Yield what is wrong with `[auth]`."""
    for index, mechanism in enumerate(auth.mechanisms):
        if mechanism in auth.mechanisms[:index]:
            yield ("auth", "mechanisms", index), f"{mechanism.value} is named twice"
    if auth.longest_delay < auth.delay:
        yield ("auth", "longest_delay"), "is shorter than delay, where the doubling begins"
    yield from _oauth(auth.oauth)


def _oauth(oauth: OauthSettings) -> Found:
    here: KeyPath = ("auth", "oauth")
    if oauth.introspection and oauth.keys:
        yield (*here, "keys"), "stands beside introspection: either the issuer is asked, or its keys"
    if oauth.keys and not (oauth.issuer and oauth.audience):
        yield here, "keys need issuer and audience: by its signature alone, a token for any other service would do"
    if bool(oauth.client_id) is not bool(oauth.client_secret_file):
        yield here, "client_id and client_secret_file go together"
    if oauth.client_id and not oauth.introspection:
        yield (*here, "client_id"), "is for introspection only"
    if not oauth.names and (oauth.introspection or oauth.keys):
        yield (*here, "names"), "is empty, so no token would name an account"
