"""AUTH in the session: offers, refusals, outcomes, hooks, limits and what is forgotten when (RFC 4954)."""

from __future__ import annotations

from tests.unit.session.authkit import AuthDialogue, MemoryCredentials, plain


async def test_plain_lets_the_right_password_in() -> None:
    """C51: 235 2.7.0; the session knows who it is, and may send anywhere."""
    client = AuthDialogue(take=False)
    client.hello()
    assert await client.login() == ["235 2.7.0 Authentication succeeded"]
    assert client.engine.session.identity == "anna"
    assert client.codes("MAIL FROM:<anna@example.org>", "RCPT TO:<far@example.com>", "DATA") == ["250", "250", "354"]


async def test_wrong_and_unknown_are_one_reply() -> None:
    """AUT-04, C51: 535 5.7.8 in the same words."""
    for user, password in (("anna", "wrong"), ("nobody", "wrong")):
        client = AuthDialogue()
        client.hello()
        assert await client.login(user, password) == ["535 5.7.8 Authentication credentials invalid"]
        assert client.engine.session.identity is None
