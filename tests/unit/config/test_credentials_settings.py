"""`[[credentials]]`: which sources can be named, what each needs, and what is refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from upesi.cli.main import upesi
from upesi.config.accounts import SourceUrl, is_this_machine, source_url
from upesi.config.loading import load
from upesi.config.problems import ConfigError
from upesi.config.settings import CredentialsSettings


def loaded(tmp_path: Path, text: str) -> CredentialsSettings:
    file = tmp_path / "upesi.toml"
    file.write_text(f"[[credentials]]\n{text}\n")
    (table,) = load(file).credentials
    return table


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("file:accounts", SourceUrl("file", path="accounts")),
        ("sqlite:/var/lib/mail.db", SourceUrl("sqlite", path="/var/lib/mail.db")),
        ("postgresql://mail@db.example/users", SourceUrl("postgresql", "db.example", 5432, "users", "mail")),
        ("postgresql://m%40x@[::1]:99/a%2Fb", SourceUrl("postgresql", "::1", 99, "a/b", "m@x")),
        ("postgresql://m@%2Frun%2Fpostgresql/u", SourceUrl("postgresql", "/run/postgresql", 5432, "u", "m")),
        ("ldap://dir.example", SourceUrl("ldap", "dir.example", 389)),
        ("ldaps://dir.example:1636/", SourceUrl("ldaps", "dir.example", 1636)),
        ("dovecot:///run/dovecot/auth-client", SourceUrl("dovecot", path="/run/dovecot/auth-client")),
        ("dovecot://127.0.0.1:12345", SourceUrl("dovecot", "127.0.0.1", 12345)),
        ("https://auth.example/check?x=1", SourceUrl("https", "auth.example", 443)),
        ("smtp://mail.example", SourceUrl("smtp", "mail.example", 587)),
        ("smtps://mail.example", SourceUrl("smtps", "mail.example", 465)),
    ],
)
def test_sources_that_can_be_named(source: str, parts: SourceUrl) -> None:
    """Each form is taken apart; ports that are not said are the registered ones."""
    assert source_url(source) == parts


@pytest.mark.parametrize(
    "source",
    [
        "", "file", "file:", "accounts", "fil:accounts", "mysql://a@b/c", "sqlite:",
        "postgresql://db.example/users", "postgresql://mail@db.example", "postgresql://mail@/users",
        "postgresql://mail:sesame@db.example/users", "postgresql://mail@db.example/users?sslmode=disable",
        "ldap://", "ldap://dir.example/dc=example", "ldap://user@dir.example", "ldap:///", "ldaps://dir.example:0",
        "dovecot://", "dovecot:///", "dovecot://host", "dovecot:auth", "https://", "https://a b/", "https://a/#b",
        "https://user:sesame@auth.example/", "smtp://mail.example/x", "smtp://mail.example:70000", "smtp://[::1",
    ],
)  # fmt: skip
def test_sources_that_cannot(source: str) -> None:
    """What is no source is refused with its reason, and a password in it is not repeated."""
    with pytest.raises(ValueError) as caught:
        source_url(source)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "key", "complaint"),
    [
        ('source = "nonsense"', "source", "is no source"),
        ('source = "postgres://x"', "source", "did you mean postgresql"),
        ('source = "postgresql://mail:sesame@db.example/u"\nquery = "$1"', "source", "use secret_file"),
        ('source = "file:a"\nquery = "SELECT $1"', "query", "means nothing for a source of the kind file:"),
        ('source = "file:a"\nbase = "dc=x"', "base", "means nothing"),
        ('source = "dovecot:///s"\nscram = true', "scram", "means nothing"),
        ('source = "sqlite:a"', "query", "$1"),
        ('source = "sqlite:a"\nquery = "SELECT 1"', "query", "$1"),
        ('source = "ldap://a"', "dn", "either dn, or base"),
        ('source = "ldap://a"\ndn = "uid={user},dc=x"\nbase = "dc=x"\nfilter = "(uid={user})"', "dn", "either dn, or base"),
        ('source = "ldap://a"\ndn = "uid=user,dc=x"', "dn", "{user}"),
        ('source = "ldap://a"\ndn = "uid={name},dc=x"', "dn", "{user}"),
        ('source = "ldap://a"\nbase = "dc=x"', "filter", "is missing"),
        ('source = "ldap://a"\nbase = "dc=x"\nfilter = "uid={user}"', "filter", "parentheses"),
        ('source = "ldap://a"\ndn = "uid={user}"\nsecret_file = "s"', "bind_dn", "is missing"),
        ('source = "ldap://a"\nbase = "dc=x"\nfilter = "(uid={user})"\nbind_dn = "cn=a"', "secret_file", "anonymous"),
        ('source = "dovecot://192.0.2.1:1"', "source", "plaintext = true"),
        ('source = "http://192.0.2.1/"', "source", "use https"),
        ('source = "http://192.0.2.1/"\nplaintext = true', "plaintext", "means nothing"),
        ('source = "file:a"\ntimeout = "0s"', "timeout", "more than 0"),
        ('source = "file:a"\nconcurrency = 0', "concurrency", "more than 0"),
        ('source = "file:a"\nremember = "11m"', "remember", "above 10m"),
        ('source = "file:a"\ndomains = ["exa mple"]', "domains", "exa mple"),
        ("", "source", "is missing"),
    ],
)  # fmt: skip
def test_mistakes_are_told(tmp_path: Path, text: str, key: str, complaint: str) -> None:
    """At the key, in words that say what to do."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    problem = next(problem for problem in caught.value.problems if complaint in problem.text)
    assert problem.key.startswith(f"credentials[0].{key}")
    assert "sesame" not in str(caught.value)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """Accounts, secrets and authorities lie beside the configuration, unless said otherwise."""
    assert loaded(tmp_path, 'source = "file:accounts"').source == f"file:{tmp_path}/accounts"
    assert loaded(tmp_path, 'source = "file:/etc/accounts"').source == "file:/etc/accounts"
    table = loaded(
        tmp_path,
        'source = "postgresql://m@db.example/u"\nquery = "SELECT hash FROM users WHERE name = $1"\n'
        'secret_file = "secret"\nca_file = "ca.pem"',
    )
    assert (table.secret_file, table.ca_file) == (f"{tmp_path}/secret", f"{tmp_path}/ca.pem")


@pytest.mark.parametrize(
    ("host", "ours"),
    [("", True), ("/run/postgresql", True), ("localhost", True), ("127.1.2.3", True), ("::1", True),
     ("127.0.0.1.example", False), ("192.168.1.1", False), ("localhost.example", False)],
)  # fmt: skip
def test_which_hosts_need_no_tls(host: str, ours: bool) -> None:
    """This machine by its very name; a name that DNS would be asked for is none."""
    assert is_this_machine(host) is ours


def test_what_is_shown_of_sources(tmp_path: Path) -> None:
    """ADM-02: `upesi config show` shows sources, which hold no secret, and where secrets lie."""
    file = tmp_path / "upesi.toml"
    file.write_text('[[credentials]]\nsource = "https://a.example/"\nsecret_file = "/etc/token"\n')
    shown = CliRunner().invoke(upesi, ["config", "show", "-c", str(file)])
    assert shown.exit_code == 0
    again = tmp_path / "again.toml"
    again.write_text(shown.output)
    assert load(again).credentials == load(file).credentials


def test_what_is_shown_can_be_checked(tmp_path: Path) -> None:
    """`upesi config show > FILE` is a configuration: all tables with accounts, secrets' files and units in it."""
    for name, text in (("accounts", ""), ("secret", "sesame\n"), ("senders", "anna: @example.org\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    (tmp_path / "upesi.toml").write_text(
        '[auth]\nsender_map = "senders"\naccount_failures = "none"\nmechanisms = ["SCRAM-SHA-256", "PLAIN"]\n'
        '[auth.oauth]\nintrospection = "https://a.example/i"\nclient_id = "x"\nclient_secret_file = "secret"\n'
        '[[listener]]\nrole = "submission"\n[listener.auth]\nwithout_tls = true\n'
        '[[credentials]]\nsource = "file:accounts"\ndomains = ["a.example"]\n'
        '[[credentials]]\nsource = "https://a.example/"\nsecret_file = "secret"\nremember = "1m"\n'
        '[[destination]]\ndomains = ["*"]\ntls = "verify"\n'
        '[[route]]\ndomains = ["x.example"]\nto = "smtps://h.example"\nuser = "u"\npassword_file = "secret"\n'
    )
    shown = CliRunner().invoke(upesi, ["config", "show", "-c", str(tmp_path / "upesi.toml")])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "upesi.toml").write_text(shown.stdout)
    checked = CliRunner().invoke(upesi, ["config", "check", "-c", str(elsewhere / "upesi.toml")])
    assert checked.exit_code == 0, checked.exception
    assert load(elsewhere / "upesi.toml") == load(tmp_path / "upesi.toml")
