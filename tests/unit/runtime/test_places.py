"""What a check finds in files that the configuration names is said with the line and the key that name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from upesi.config.problems import ConfigError
from upesi.runtime import places
from upesi.runtime.check import check
from upesi.tls.selfsigned import self_signed

_TLS = '[[listener]]\ntls = "starttls"\n'


@pytest.mark.parametrize(
    ("text", "overrides", "said"),
    [
        (f'{_TLS}[tls]\ncertificates = "absent"\n', (), "HERE/upesi.toml:4: tls.certificates: HERE/absent: cannot be read"),
        (_TLS, ("tls.certificates=/absent",), "--set tls.certificates=/absent: tls.certificates: /absent: cannot be read"),
        (f'{_TLS}[tls]\nciphers = "FOO"\n', (), "HERE/upesi.toml:4: tls.ciphers: 'FOO' names no cipher"),
        (
            '[[credentials]]\nsource = "file:accounts"\n',
            (),
            "HERE/upesi.toml:2: credentials[0].source: HERE/accounts: cannot be read: No such file or directory: "
            "`upesi passwd HERE/accounts USER` makes it",
        ),
        (
            '[[credentials]]\nsource = "https://a.example/"\nsecret_file = "absent"\n',
            (),
            "HERE/upesi.toml:3: credentials[0].secret_file: HERE/absent: cannot be read",
        ),
        ("\n[auth]\nsender_map = \"absent\"\n", (), "HERE/upesi.toml:3: auth.sender_map: HERE/absent: cannot be read"),
        ("\n[auth]\nsender_map = \"wrong\"\n", (), "HERE/upesi.toml:3: auth.sender_map: HERE/wrong: line 2: not of the form"),
        (
            '[auth.oauth]\nintrospection = "https://a.example/"\nclient_id = "a"\nclient_secret_file = "absent"\n',
            (),
            "HERE/upesi.toml:4: auth.oauth.client_secret_file: HERE/absent: cannot be read",
        ),
        (
            '[[destination]]\ndomains = ["*"]\ntls_certificate = "absent"\n',
            (),
            "HERE/upesi.toml:3: destination[0].tls_certificate: HERE/absent: cannot be read",
        ),
        (
            '[spool]\npath = "wrong/spool"\n',
            (),
            "HERE/upesi.toml:2: spool.path: HERE/wrong/spool: cannot be made, since HERE/wrong is no folder",
        ),
        ('[spool]\npath = "wrong"\n', (), "HERE/upesi.toml:2: spool.path: HERE/wrong: is no folder"),
        ("", ("spool.path=dangling/a/b",), "--set spool.path=dangling/a/b: spool.path: HERE/dangling/a/b: cannot be made"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_said_with_its_place(
    tmp_path: Path, text: str, overrides: tuple[str, ...], said: str
) -> None:
    """File, line and key of the configuration, then the other file, once, and what is wrong with it."""
    file = tmp_path / "upesi.toml"
    (tmp_path / "certificates").mkdir()
    (tmp_path / "wrong").write_text("anna: a@example.org\nbert\n")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        check(file, overrides)
    assert str(caught.value).replace(str(tmp_path), "HERE").startswith(said)


def test_a_spool_that_we_may_not_make_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server may run as another user than the check; nothing is made by looking."""
    file = tmp_path / "upesi.toml"
    file.write_text('[spool]\npath = "closed/a/spool"\n')
    closed = tmp_path / "closed"
    closed.mkdir()
    assert check(file, ()) == ([], [])
    # root may write anywhere, whatever the modes
    monkeypatch.setattr(places.os, "access", lambda place, mode, effective_ids: place != closed)
    (warning,), _ = check(file, ())
    said = f"{file}:2: spool.path: {closed}/a/spool: cannot be made: {closed} cannot be written by the user who checks this"
    assert str(warning).startswith(said)
    file.write_text('[spool]\npath = "closed"\n')
    (warning,), _ = check(file, ())
    assert str(warning).startswith(f"{file}:2: spool.path: {closed}: cannot be written by the user")
    assert list(closed.iterdir()) == []


def test_a_warning_of_a_certificate_has_the_place_of_its_folder(tmp_path: Path) -> None:
    """The key that names the folder, then the file."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.pem").write_bytes(self_signed("a.example"))
    (tmp_path / "own" / "a.pem").chmod(0o600)
    file = tmp_path / "upesi.toml"
    file.write_text(f'{_TLS}certificates = "own"\n')
    settings, (warning,) = check(file, ())
    assert settings == []
    assert str(warning).startswith(
        f"{file}:3: listener[0].certificates: {tmp_path}/own/a.pem: is self-signed: it encrypts"
    )
