"""`upesi passwd`: the accounts of a file from the command line."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from upesi.cli.main import upesi
from upesi.lookup.account_file import read_file
from upesi.lookup.accounts import parse_account, password_matches
from upesi.sasl.credentials import Ability


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "accounts"


def passwd(file: Path, user: str, *options: str, stdin: str | bytes | None = "sesame\n") -> Result:
    return CliRunner().invoke(upesi, ["passwd", str(file), user, "--stdin", *options], input=stdin)


def test_an_account_is_added_verified_changed_and_removed(file: Path) -> None:
    """The whole life of an account, each step with its exit code."""
    added = passwd(file, "Anna@example.org")
    assert (added.exit_code, added.output) == (0, "Anna@example.org added\n")
    assert passwd(file, "anna@example.org", "--verify").exit_code == 0
    assert passwd(file, "anna@example.org", "--verify", stdin="wrong\n").exit_code == 1
    changed = passwd(file, "anna@example.org", stdin="other\r\n")
    assert (changed.exit_code, changed.output) == (0, "Anna@example.org changed\n")
    assert passwd(file, "anna@example.org", "--verify").exit_code == 1
    assert passwd(file, "anna@example.org", "--verify", stdin="other").exit_code == 0
    assert passwd(file, "ANNA@example.org", "--remove", stdin="").exit_code == 0
    assert passwd(file, "anna@example.org", "--remove", stdin="").exit_code == 1
    assert passwd(file, "anna@example.org", "--verify").exit_code == 1


def test_a_change_keeps_what_else_is_known_of_the_account(file: Path) -> None:
    """Addresses, the disabled flag and the wish for SCRAM keys survive; the keys are new."""
    passwd(file, "anna", "--scram")
    file.write_text(file.read_text().replace("\n", " anna@example.org disabled\n"))
    before = parse_account("anna", read_file(file)[0]["anna"])
    passwd(file, "anna", stdin="other\n")
    after = parse_account("anna", read_file(file)[0]["anna"])
    assert after.identity == before.identity
    assert after.disabled
    assert password_matches(after, "other")
    assert after.scram[Ability.SCRAM_SHA_256].stored_key != before.scram[Ability.SCRAM_SHA_256].stored_key
    assert "disabled" in passwd(file, "anna", "--verify", stdin="other\n").output


def test_what_is_kept_for_other_mechanisms_stays(file: Path) -> None:
    """AUT-08: --scram-sha1 and --cram-md5 add to what an account has, and the next password is kept for them too."""
    passwd(file, "anna", "--scram-sha1")
    passwd(file, "anna", "--cram-md5", stdin="other\n")
    passwd(file, "anna", stdin="third\n")
    account = parse_account("anna", read_file(file)[0]["anna"])
    assert account.kept == {Ability.SCRAM_SHA_1, Ability.SHARED_SECRET}
    assert account.secret == "third"


def test_the_password_is_prepared_as_at_login(file: Path) -> None:
    """RFC 4013: two keyboards that type the same letters in other code points mean one password (AUT-02)."""
    passwd(file, "anna", stdin="caf\u00e9\n")
    assert passwd(file, "anna", "--verify", stdin="cafe\u0301\n").exit_code == 0


@pytest.mark.parametrize(
    ("stdin", "complaint"),
    [("", "empty"), ("\n", "empty"), ("a\tb\n", "control"), ("x" * 1025, "1024"), (b"\xff\xfe\n", "not UTF-8")],
)
def test_a_password_that_nobody_could_log_in_with_is_refused(file: Path, stdin: str | bytes, complaint: str) -> None:
    """AUT-02: what `saslprep` or a bound would refuse at login never becomes a hash; no file is made."""
    result = passwd(file, "anna", stdin=stdin)
    assert result.exit_code == 1
    assert complaint in result.output
    assert not file.exists()


@pytest.mark.parametrize("user", ["", "an na", "#anna", "an\nna", "x" * 256, "an\u00a0na"])
def test_a_name_that_is_no_word_is_refused(file: Path, user: str) -> None:
    """A line is made of words: a name with a line end would be two accounts."""
    assert passwd(file, user).exit_code == 2
    assert not file.exists()


def test_a_file_that_others_may_read_is_refused(file: Path) -> None:
    """Told with the command that mends it."""
    passwd(file, "anna")
    file.chmod(0o644)
    before = file.read_text()
    for option in ("--verify", "--remove", "--scram"):
        result = passwd(file, "anna", option)
        assert result.exit_code == 1
        assert f"chmod 600 {file}" in str(result.exception)
    assert file.read_text() == before


def test_a_broken_line_of_somebody_else_does_not_matter(file: Path) -> None:
    """One can mend a file with the command that the file is for."""
    passwd(file, "anna")
    with file.open("a") as out:
        out.write("bert nonsense\n")
    assert passwd(file, "anna", "--verify").exit_code == 0
    assert passwd(file, "bert").exit_code == 1
    assert passwd(file, "bert", "--remove").exit_code == 0
    assert set(read_file(file)[0]) == {"anna"}


def test_no_password_is_taken_from_arguments_and_none_is_shown(file: Path) -> None:
    """AUT-05: arguments are seen by every user of the machine; there is no place for a password in them."""
    result = CliRunner().invoke(upesi, ["passwd", str(file), "anna", "sesame"])
    assert result.exit_code == 2
    assert "sesame" not in passwd(file, "anna").output
    assert "sesame" not in file.read_text()


def test_without_a_terminal_it_says_what_to_do(file: Path) -> None:
    """A script that forgot --stdin is told, and does not hang."""
    result = CliRunner().invoke(upesi, ["passwd", str(file), "anna"], input="sesame\n")
    assert result.exit_code == 2
    assert "--stdin" in result.output


def test_a_person_is_asked_twice_and_sees_nothing(file: Path) -> None:
    """On a terminal: two prompts, no echo."""
    terminal, its_end = pty.openpty()
    code = "from upesi.cli.main import main; main()"
    program = subprocess.Popen(
        [sys.executable, "-c", code, "passwd", str(file), "anna"],
        stdin=its_end, stdout=its_end, stderr=its_end, start_new_session=True,
    )  # fmt: skip
    os.close(its_end)
    seen = b""
    for prompt in (b"Password:", b"Repeat for confirmation:"):
        while prompt not in seen:
            seen += os.read(terminal, 1000)
        os.write(terminal, b"sesame\n")
    try:
        while more := os.read(terminal, 1000):
            seen += more
    except OSError:
        pass  # Linux says so when the other side of a terminal is gone
    os.close(terminal)
    assert program.wait() == 0
    assert b"sesame" not in seen
    assert passwd(file, "anna", "--verify").exit_code == 0
