"""Files that are needed to reach others are read and tried before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.client.tls_names import Issuer

from upesi.config.problems import ConfigError
from upesi.config.settings import Config, DeliverySettings, DestinationSettings, RouteSettings
from upesi.mail.tls import TlsLevel
from upesi.runtime.sending import check_sending


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """What an operator might name."""
    issuer = Issuer(tmp_path / "issuer")
    found = {name: tmp_path / name for name in ("absent", "open", "empty", "secret", "text")}
    found |= {"pem": issuer.pem("us.example"), "ca": issuer.file}
    found["pem"].chmod(0o600)
    found["open"].write_bytes(found["pem"].read_bytes())
    found["open"].chmod(0o644)
    for name in ("empty", "secret", "text"):
        found[name].write_text({"empty": "", "secret": "sesame\n", "text": "no certificate"}[name])
        found[name].chmod(0o600)
    return found


def complaint(config: Config) -> str:
    with pytest.raises(ConfigError) as caught:
        check_sending(config)
    return str(caught.value)


def test_what_is_right_is_taken(files: dict[str, Path]) -> None:
    """A certificate with its key, authorities, a password."""
    check_sending(
        Config(
            destination=(
                DestinationSettings(
                    domains=("*",),
                    tls=TlsLevel.VERIFY,
                    tls_authorities=str(files["ca"]),
                    tls_certificate=str(files["pem"]),
                ),
            ),
            route=(RouteSettings(domains=("*",), to="smtp://h", user="a", password_file=str(files["secret"])),),
        )
    )


@pytest.mark.parametrize(
    ("file", "words"),
    [("absent", "cannot be read"), ("open", "others may read"), ("empty", "does not hold"), ("text", "does not hold"),
     ("ca", "others may read")],
)  # fmt: skip
def test_a_certificate_that_cannot_be_shown_is_refused(files: dict[str, Path], file: str, words: str) -> None:
    """The start says which table and what is wrong; a key that others can read is wrong (TLS-14 turned round)."""
    entry = DestinationSettings(domains=("*",), tls_certificate=str(files[file]))
    said = complaint(Config(destination=(DestinationSettings(domains=("a.example",)), entry)))
    assert "destination[1]" in said
    assert words in said


@pytest.mark.parametrize("file", ["absent", "empty", "text"])
def test_authorities_that_are_none_are_refused(files: dict[str, Path], file: str) -> None:
    """Else every server would be a stranger, and mail would wait without anybody knowing why."""
    entry = DestinationSettings(domains=("*",), tls=TlsLevel.VERIFY, tls_authorities=str(files[file]))
    assert str(files[file]) in complaint(Config(destination=(entry,)))


@pytest.mark.parametrize("file", ["absent", "open", "empty"])
def test_a_password_that_cannot_be_read_is_refused(files: dict[str, Path], file: str) -> None:
    """The key of the configuration, the file, and nothing that is in it."""
    said = complaint(Config(delivery=DeliverySettings(smarthost_user="a", smarthost_password_file=str(files[file]))))
    assert "delivery.smarthost_password_file" in said
    assert str(files[file]) in said
    assert "KEY" not in said


def test_all_files_that_cannot_be_read_are_named(files: dict[str, Path]) -> None:
    """Each with its key: who mends one does not come back for the next."""
    absent = str(files["absent"])
    entry = DestinationSettings(domains=("*",), tls=TlsLevel.VERIFY, tls_authorities=absent, tls_certificate=absent)
    route = RouteSettings(domains=("*",), to="smtp://h", user="a", password_file=absent)
    with pytest.raises(ConfigError) as caught:
        check_sending(Config(destination=(entry,), route=(route,)))
    assert [problem.key for problem in caught.value.problems] == [
        "destination[0].tls_authorities", "destination[0].tls_certificate", "route[0].password_file",
    ]  # fmt: skip
