"""`upesi quarantine`: damaged mail is seen, written out, released where that is safe, and deleted only on purpose."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from upesi.cli.main import upesi
from upesi.config.loading import load
from upesi.database.sqlite import Database
from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import Recipient, Transmission
from upesi.mail.ids import MessageId
from upesi.mail.route import HostRoute
from upesi.spool.admin import SpoolAdmin
from upesi.spool.records import NewDelivery, NewMessage
from upesi.spool.sqlite import SqliteStore
from upesi.spool.store import SpoolDamaged

ID = MessageId(bytes([0x33] * 16))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(upesi, ("quarantine", *arguments))


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A configuration whose spool has one message in quarantine: its body was changed on the disk."""
    file = tmp_path / "upesi.toml"
    file.write_text('[spool]\npath = "spool"\n')
    settings = load(file).spool
    Path(settings.path).mkdir(mode=0o700)
    admin = SpoolAdmin.open_or_create(settings)
    epoch = admin.register_member()
    now = time.time()
    delivery = NewDelivery(
        "host:a:25", HostRoute("a", 25), (Recipient(Address("you", "b.example")),), now, now + 432_000
    )
    message = NewMessage(
        ID,
        now,
        Address("me", "a.example"),
        Transmission(),
        b"",
        MemoryBody(b"Subject: x\r\n\r\nhello\r\n"),
        (delivery,),
    )

    async def fill() -> None:
        store = await SqliteStore.open(Path(settings.path), epoch, settings, time.time)
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        store.accept(message, lambda error, born: done.set_result(error))
        assert await done is None
        database = Database.open(Path(settings.path) / "spool.db")
        database.run("UPDATE message SET body = CAST('Subject: x\r\n\r\nhallo\r\n' AS BLOB)")
        database.close()
        with pytest.raises(SpoolDamaged):
            await store.load(ID)
        await store.close()

    asyncio.run(fill())
    admin.expel(epoch)
    admin.close()
    return str(file)


def test_damaged_mail_is_listed_shown_and_written_out(config: str) -> None:
    """Who sent it to whom, why it is there, and its octets as they were found."""
    listed = run("list", "-c", config).stdout.splitlines()
    assert listed[0].split() == ["ID", "SINCE", "SENDER", "RECIPIENTS", "SIZE", "REASON"]
    assert listed[1].split()[0] == ID.hex()
    assert listed[1].endswith("me@a.example  you@b.example  21 B  message body failed its checksum")
    shown = run("show", ID.hex(), "-c", config).stdout
    assert "message body failed its checksum" in shown
    assert "you@b.example" in shown
    assert json.loads(run("show", ID.hex(), "-c", config, "--json").stdout)["message"] == ID.hex()
    assert run("show", ID.hex(), "--content", "-c", config).stdout_bytes == b"Subject: x\r\n\r\nhallo\r\n"
    assert "nothing of" in run("show", "00" * 16, "-c", config).stderr


def test_damaged_mail_goes_only_when_somebody_takes_it_as_it_is(config: str) -> None:
    """Without --damaged-body the reason is told and it stays."""
    refused = run("release", ID.hex(), "-c", config)
    assert "cannot be released: message body failed its checksum" in str(refused.exception)
    assert run("release", ID.hex(), "--damaged-body", "-c", config).stdout == "1 delivery released\n"
    listed = CliRunner().invoke(upesi, ["queue", "count", "-c", config]).stdout
    assert listed == "1\n"
    assert "nothing is in quarantine" in run("list", "-c", config).stderr
    assert json.loads(run("list", "--json", "-c", config).stdout) == []


def test_damaged_mail_is_deleted_on_purpose(config: str) -> None:
    """Where nobody can be asked, --yes must be said."""
    asked = run("delete", ID.hex(), "-c", config)
    assert asked.exit_code == 2
    assert "add --yes" in asked.stderr
    assert run("delete", ID.hex(), "--yes", "-c", config).stdout == "1 message deleted\n"
    assert run("delete", ID.hex(), "--yes", "-c", config).stdout == "0 messages deleted\n"
