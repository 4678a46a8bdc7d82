"""Another SMTP server as the judge of passwords: aiosmtpd, and servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from integration.accounts import accounts
from integration.authority import Authority
from integration.stubs import serving, until_closed
from upesi.sasl.credentials import Identity, Reason, Refused, Unavailable

# aiosmtpd warns that it was asked to do without what its own users would want
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def _judge(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
    assert isinstance(data, LoginPassword)
    # not handled: it answers by itself
    return AuthResult(success=data == LoginPassword(b"anna", "s\u00e4same".encode()), handled=False)


@contextlib.asynccontextmanager
async def aiosmtpd(
    authority: Authority, *, implicit: bool, tls: bool = True, judged: bool = True
) -> AsyncIterator[int]:
    context = authority.context()

    def factory() -> SMTP:
        return SMTP(
            Sink(), hostname="other.test", tls_context=context if tls and not implicit else None,
            authenticator=_judge, auth_exclude_mechanism=() if judged else ("PLAIN", "LOGIN"), auth_require_tls=not implicit,
        )  # fmt: skip

    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0, ssl=context if implicit else None)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_the_other_server_judges(authority: Authority, tmp_path: Path, scheme: str, host: str) -> None:
    """AUTH PLAIN behind STARTTLS, or inside TLS from the first octet: 235 is yes, 535 is no."""
    async with (
        aiosmtpd(authority, implicit=scheme == "smtps") as port,
        accounts(
            tmp_path, f'source = "{scheme}://{host}:{port}"\nca_file = "{authority.file}"\ntimeout = "20s"'
        ) as source,
    ):
        assert await source.verify("anna", "s\u00e4same") == Identity("anna")
        assert await source.verify("anna", "sesame") == Refused()
        assert await source.verify("nobody", "s\u00e4same") == Refused()
        assert await source.verify("Anna", "s\u00e4same") == Refused()
        answers = await asyncio.gather(*(source.verify("anna", "s\u00e4same") for _ in range(20)))
        assert answers == [Identity("anna")] * 20
        assert not source.events


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_no_password_goes_to_a_server_that_is_not_trusted(
    authority: Authority, tmp_path: Path, scheme: str
) -> None:
    """AUT-07: another authority, another name: no answer, and nothing was said."""
    other = Authority(tmp_path / "other").file
    async with aiosmtpd(authority, implicit=scheme == "smtps") as port:
        for more in ("", f'ca_file = "{other}"'):
            async with accounts(tmp_path, f'source = "{scheme}://localhost:{port}"\n{more}\ntimeout = "20s"') as source:
                assert isinstance(await source.verify("anna", "s\u00e4same"), Unavailable)


async def test_what_the_server_must_offer(authority: Authority, tmp_path: Path) -> None:
    """AUT-07: without STARTTLS or AUTH PLAIN there is no answer, and nothing goes in clear."""
    for tls, judged, cause in ((False, True, "no STARTTLS"), (True, False, "no AUTH PLAIN")):
        async with (
            aiosmtpd(authority, implicit=False, tls=tls, judged=judged) as port,
            accounts(
                tmp_path, f'source = "smtp://localhost:{port}"\nca_file = "{authority.file}"\ntimeout = "20s"'
            ) as source,
        ):
            answer = await source.verify("anna", "s\u00e4same")
            assert isinstance(answer, Unavailable)
            assert cause in answer.cause


_EHLO = b"250-other.test\r\n250 AUTH PLAIN LOGIN\r\n"


@pytest.mark.parametrize(
    ("greeting", "ehlo", "reply", "answer"),
    [
        (b"220 hello\r\n", _EHLO, b"235 2.7.0 yes\r\n", Identity("anna")),
        (b"220 hello\r\n", _EHLO, b"535 5.7.8 no\r\n", Refused()),
        (b"220 hello\r\n", _EHLO, b"432 4.7.12 change it\r\n", Refused(Reason.EXPIRED)),
        (b"220 hello\r\n", _EHLO, b"454 4.7.0 later\r\n", "454"),
        (b"220 hello\r\n", _EHLO, b"421 4.3.2 bye\r\n", "421"),
        (b"220 hello\r\n", _EHLO, b"250 2.0.0 ok\r\n", "250"),
        (b"220 hello\r\n", _EHLO, b"534 5.7.9 too weak\r\n", "534"),
        (b"220 hello\r\n", _EHLO, b"500 5.5.2 what\r\n", "500"),
        (b"220 hello\r\n", _EHLO, b"334 \r\n", "334"),
        (b"220 hello\r\n", _EHLO, b"235 2.7.0 yes", "time"),
        (b"220 hello\r\n", _EHLO, b"", "time"),
        (b"220 hello\r\n", _EHLO, b"yes\r\n", ""),
        (b"220 hello\r\n", _EHLO, b"x" * 100_000, ""),
        (b"220 hello\r\n", b"250-other.test\r\n250 AUTH LOGIN\r\n", b"235 yes\r\n", "no AUTH PLAIN"),
        (b"554 go away\r\n", b"", b"", "554"),
        (b"235 2.7.0 yes\r\n", _EHLO, b"", "time"),
        (b"220 hello\r\n235 2.7.0 yes\r\n", _EHLO, b"", ""),
        (b"", b"", b"", "time"),
    ],
)
async def test_only_235_is_yes_and_only_535_is_no(
    authority: Authority, tmp_path: Path, greeting: bytes, ehlo: bytes, reply: bytes, answer: object
) -> None:
    """AUT-07: everything else says something about the server, not about the user; a server's words are in no event (AUT-05)."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        while line := await reader.readline():
            if line.startswith(b"EHLO"):
                writer.write(ehlo)
            elif line.startswith(b"AUTH"):
                writer.write(reply)
                await until_closed(reader)

    timeout = "700ms" if answer == "time" else "20s"
    async with (
        serving(talk, context=authority.context()) as port,
        accounts(
            tmp_path, f'source = "smtps://localhost:{port}"\nca_file = "{authority.file}"\ntimeout = "{timeout}"'
        ) as source,
    ):
        given = await source.verify("anna", "sesame")
        if isinstance(answer, str):
            assert isinstance(given, Unavailable)
            assert answer in given.cause
            assert not {"go away", "too weak", "sesame"} & set(str(source.events).split())
        else:
            assert given == answer


async def test_nobody_there(tmp_path: Path) -> None:
    """AUT-07: a server that is away, or a name that does not exist."""
    for host in ("127.0.0.1:1", "nowhere.example:465"):
        async with accounts(tmp_path, f'source = "smtps://{host}"\ntimeout = "20s"') as source:
            assert isinstance(await source.verify("anna", "sesame"), Unavailable)
