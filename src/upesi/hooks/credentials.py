"""What an `auth` hook is given: whom a client says it is, and what it showed for that."""

from __future__ import annotations

__all__ = ["AuthCredentials"]


class AuthCredentials:
    """The credentials of one attempt to authenticate.

    `mechanism` is its SASL name, `user` whom it is about. `password` is there with PLAIN and LOGIN, `token` with OAUTHBEARER and XOAUTH2: a
    plugin may check them itself, and let the client in by `accept("name of the account")`. Where both are None the client proved who it
    is without showing a secret (SCRAM, CRAM-MD5, EXTERNAL), `proved` is True, and a plugin can only deny.

    Never log a password or a token, nor put one into notes.
    """

    __slots__ = ("mechanism", "password", "proved", "token", "user")

    def __init__(
        self, mechanism: str, user: str, *, password: str | None = None, token: str | None = None, proved: bool = False
    ) -> None:
        self.mechanism = mechanism
        self.user = user
        self.password = password
        self.token = token
        self.proved = proved

    def __repr__(self) -> str:
        # stands in tracebacks and in logs of plugins: no secret
        return f"AuthCredentials({self.mechanism!r}, {self.user!r})"
