"""docs/accounts.md has an example of every source of credentials, and says of each what is true of it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from doc_pages import blocks, coded, rows, text_of

from upesi.config.accounts import SCHEMES, source_url
from upesi.config.loading import load
from upesi.config.problems import ConfigError
from upesi.lookup.accounts import parse_account
from upesi.lookup.passwords import hash_password
from upesi.runtime.accounts import check_accounts

PAGE = "docs/accounts.md"


def _tables() -> list[dict[str, object]]:
    return [table for block in blocks("toml", pages=(PAGE,)) for table in tomllib.loads(block.text)["credentials"]]


def test_every_source_has_an_example_and_a_row() -> None:
    """Whoever has one of these finds lines to copy; http is https on this machine."""
    shown = {source_url(str(table["source"])).scheme for table in _tables()}
    assert shown | {"http", "smtp"} == set(SCHEMES)
    named = {code.rstrip(":") for cells in rows(text_of(PAGE)) for code in coded(cells[1]) if code.endswith(":")}
    assert named == set(SCHEMES)


def test_every_key_is_shown_or_named() -> None:
    """A key that means something for a source is on the page."""
    page = text_of(PAGE)
    for keys in SCHEMES.values():
        for key in keys:
            assert key in page


def test_the_words_of_an_account_are_those_of_the_page() -> None:
    """The example lines are lines that are read, with a whole hash in the place of the shortened one."""
    (text,) = [block.text for block in blocks("", pages=(PAGE,)) if "disabled\n" in block.text]
    made = hash_password("sesame")
    for line in text.splitlines():
        user, *words = line.replace("$argon2id$v=19$m=19456,t=2,p=1$...", made).split()
        account = parse_account(user, words)
        assert account.disabled is ("disabled" in words)
        assert account.identity.addresses == tuple(word for word in words if "@" in word)
    assert made.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_a_configuration_is_checked_as_the_page_says(tmp_path: Path) -> None:
    """A file that is not there, or that others may read, stops the start; one that is right does not."""
    config = tmp_path / "upesi.toml"
    config.write_text('[[credentials]]\nsource = "file:accounts"\n')
    with pytest.raises(ConfigError, match="upesi passwd"):
        check_accounts(load(config))
    file = tmp_path / "accounts"
    file.write_text(f"anna {hash_password('sesame')}\n")
    file.chmod(0o604)
    with pytest.raises(ConfigError, match="chmod 600"):
        check_accounts(load(config))
    file.chmod(0o600)
    check_accounts(load(config))
