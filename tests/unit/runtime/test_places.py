"""What a check finds in files that the configuration names is said with the line and the key that name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from upesi.config.problems import ConfigError
from upesi.runtime.check import check

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
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_said_with_its_place(
    tmp_path: Path, text: str, overrides: tuple[str, ...], said: str
) -> None:
    """File, line and key of the configuration, then the other file, once, and what is wrong with it."""
    file = tmp_path / "upesi.toml"
    (tmp_path / "certificates").mkdir()
    (tmp_path / "wrong").write_text("anna: a@example.org\nbert\n")
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        check(file, overrides)
    assert str(caught.value).replace(str(tmp_path), "HERE").startswith(said)
