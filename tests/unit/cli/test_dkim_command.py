"""`upesi dkim`: keys and their DNS records."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from upesi.cli.main import upesi
from upesi.mailauth.keys import KeyRecord
from upesi.plugins.dkim_sign.plugin import DkimSign
from upesi.testkit import Trial


def dkim(*arguments: str) -> Result:
    return CliRunner().invoke(upesi, ["dkim", *arguments])


def published(output: str) -> str:
    """The text of the TXT record in a zone file."""
    return "".join(re.findall(r'"([^"]*)"', output.split("# in the configuration")[0]))


@pytest.mark.parametrize(("kind", "bits"), [("rsa", 2048), ("ed25519", 256)])
def test_new_makes_a_key_its_record_and_its_configuration(tmp_path: Path, kind: str, bits: int) -> None:
    """The file is the owner's alone, the record is cut into strings that DNS takes, the lines configure the plugin as they stand."""
    said = dkim("new", "Example.org", "s1", "--type", kind, "--folder", str(tmp_path / "keys"))
    assert said.exit_code == 0, said.output
    file = tmp_path / "keys/example.org.s1.pem"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "s1._domainkey.example.org. IN TXT" in said.output
    record = KeyRecord.parse(published(said.output))
    assert record.key is not None
    assert (record.key.kind, record.key.bits) == (kind, bits)
    assert all(len(part) <= 255 for part in re.findall(r'"([^"]*)"', said.output))
    settings = tomllib.loads(said.output.split("read the file:\n")[1])
    Trial.of(DkimSign, settings["plugins"]["dkim_sign"])
    again = dkim("record", "example.org", "s1", str(file))
    assert again.output.strip() in said.output


def test_a_key_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    """Mail that was signed with it is on its way."""
    (tmp_path / "example.org.s1.pem").write_text("mine")
    said = dkim("new", "example.org", "s1", "--folder", str(tmp_path))
    assert said.exit_code == 1
    assert "is there already" in said.output
    assert (tmp_path / "example.org.s1.pem").read_text() == "mine"


@pytest.mark.parametrize(
    "arguments",
    [
        ("new", "no domain", "s1"),
        ("new", "example.org", "../s1"),
        ("new", "[192.0.2.1]", "s1"),
        ("new", "example.org", "s1", "--bits", "1024"),
    ],
)
def test_what_cannot_be_a_key_is_a_wrong_command(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A selector is a name and no path, and keys are at least as long as receivers want (C68)."""
    assert dkim(*arguments, *(("--folder", str(tmp_path)) if "--bits" not in arguments else ())).exit_code == 2
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    """The error names the file and shows nothing that is in it."""
    file = tmp_path / "x.pem"
    file.write_text("secret words")
    said = dkim("record", "example.org", "s1", str(file))
    assert said.exit_code == 1
    assert str(file) in said.output
    assert "secret" not in said.output
