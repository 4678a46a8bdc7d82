"""Certificates read and checked, and the folder that they lie in."""

from __future__ import annotations

import datetime
import hashlib
import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from tlskit import NOW, Authority, Issued, Wire, rsa_key, write

from upesi.tls.certificates import MAX_NAMES, read_certificate
from upesi.tls.contexts import TlsError, client_context, server_context
from upesi.tls.folder import Certificates, Shelf
from upesi.tls.selfsigned import self_signed

TODAY = NOW.timestamp()


def read(folder: Path, before: Shelf | None = None, hostname: str = "mx.example.net") -> Shelf:
    """Look at a folder today."""
    return Shelf.read(folder, hostname, TODAY, before)


def shown(shelf: Shelf, name: str) -> str | None:
    """The file whose certificate is shown for a name."""
    certificate = shelf.named(name)
    return None if certificate is None else Path(certificate.source).name


# -- one certificate


def test_names_are_those_of_the_extension(authority: Authority) -> None:
    """RFC 9525: DNS names of subjectAltName, in lower case; the common name counts only where there are none."""
    both = authority.issue("MX.example.net", "*.example.org", "joe@example.net", common="other.example")
    assert read_certificate("x", both.both).names == ("mx.example.net", "*.example.org")
    assert read_certificate("x", authority.issue(common="Old.example.net").both).names == ("old.example.net",)


def test_key_and_chain_may_come_in_any_order_of_files(authority: Authority) -> None:
    """Key first or last: both are usual."""
    issued = authority.issue("mx.example.net")
    assert read_certificate("x", issued.key + issued.pem).names == read_certificate("x", issued.pem + issued.key).names


@pytest.mark.parametrize("bits", [2048])
def test_rsa_keys_serve(authority: Authority, bits: int) -> None:
    """RSA, in the form that OpenSSL of old wrote too, with parameters of a curve before an EC key."""
    issued = authority.issue("mx.example.net", key=rsa_key(bits))
    assert read_certificate("x", issued.both).good(TODAY)
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert read_certificate("x", parameters + authority.issue("mx.example.net").both).good(TODAY)


def test_the_chain_must_hold(authority: Authority) -> None:
    """Host first, then each one's issuer: a chain out of order would fail at every client that verifies."""
    middle = Authority("Intermediate", above=authority)
    issued = middle.issue("mx.example.net")
    assert read_certificate("x", issued.both).names == ("mx.example.net",)
    stranger = Authority("Stranger")
    with pytest.raises(TlsError, match="certificate 3 of the chain did not issue the one before it"):
        read_certificate("x", issued.key + middle.issue("mx.example.net", key=issued.private).pem + stranger.pem)


def test_a_chain_through_an_intermediate_is_verified_by_clients(authority: Authority, trusted: Path) -> None:
    """What is checked here is what is sent: the whole chain."""
    middle = Authority("Intermediate", above=authority)
    server = server_context(read_certificate("x", middle.issue("mx.example.net").both).pem)
    assert Wire(server, client_context(verify=True, authorities=trusted), "mx.example.net").shake().open


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda one, other: one.pem, "there is no private key"),
        (lambda one, other: one.key, "no certificate in PEM form"),
        (lambda one, other: b"", "no certificate in PEM form"),
        (lambda one, other: one.pem + other.key, "belongs to another certificate"),
        (lambda one, other: one.pem + one.key.replace(b"\nM", b"\nX", 1), "cannot be read"),
        (lambda one, other: one.pem.replace(b"\nM", b"\nX", 1) + one.key, "cannot be read"),
        (lambda one, other: one.pem + b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "encrypted"),
    ],
)
def test_what_cannot_work_is_said(authority: Authority, issued: Issued, make: object, problem: str) -> None:
    """Each way to be broken has its own words."""
    with pytest.raises(TlsError, match=problem):
        read_certificate("x", make(issued, authority.issue("mx.example.net")))  # type: ignore[operator]


def test_a_key_that_is_too_small_is_found(authority: Authority) -> None:
    """OpenSSL would refuse it when a client comes; it is asked at the start."""
    with pytest.raises(TlsError, match="too small"):
        read_certificate("x", authority.issue("mx.example.net", key=rsa_key(1024)).both)


@pytest.mark.parametrize(
    ("begins", "ends", "warning"),
    [(-90, -1, "expired on "), (1, 90, "not valid before "), (-80, 10, "expires on "), (-1, 90, "")],
)
def test_dates_are_warned_of(authority: Authority, begins: float, ends: float, warning: str) -> None:
    """Expired, nearly so, or not yet valid: said with the day."""
    issued = authority.issue("mx.example.net", begins=begins, ends=ends)
    texts = list(read_certificate("/etc/mx.pem", issued.both).warnings(TODAY))
    assert [text.startswith(f"/etc/mx.pem: {warning}") or warning in text for text in texts] == [True] * bool(warning)


def test_a_self_signed_one_is_warned_of() -> None:
    """It works, and proves nothing."""
    certificate = read_certificate("x", self_signed("mx.example.net", NOW))
    assert certificate.names == ("mx.example.net",)
    assert certificate.good(TODAY)
    (warning,) = certificate.warnings(TODAY)
    assert "self-signed" in warning


def test_the_self_signed_one_lasts() -> None:
    """What `upesi init` writes breaks nothing by its age; a name longer than a common name may be is no trouble."""
    certificate = read_certificate("x", self_signed("a" * 60 + ".example.net", NOW))
    assert certificate.ends - TODAY > 9 * 365 * 86400
    assert certificate.names == ("a" * 60 + ".example.net",)


def test_names_are_bounded(authority: Authority) -> None:
    """A certificate of ten thousand names takes a thousand of them."""
    many = authority.issue(*(f"h{number}.example" for number in range(MAX_NAMES + 5)))
    assert len(read_certificate("x", many.both).names) == MAX_NAMES


def test_the_end_point_is_the_hash_of_the_certificate(authority: Authority, issued: Issued) -> None:
    """RFC 5929 section 4.1: the hash of the signature; SHA-256 where that has none of its own."""
    encoded = ssl_der(issued.certificate)
    assert read_certificate("x", issued.both).end_point == hashlib.sha256(encoded).digest()
    plain = authority.issue("mx.example.net", key=ed25519.Ed25519PrivateKey.generate())
    assert read_certificate("x", plain.both).end_point == hashlib.sha256(ssl_der(plain.certificate)).digest()


def ssl_der(certificate: x509.Certificate) -> bytes:
    """The certificate as it goes over the wire."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


# -- the folder


def test_every_usual_form_is_found(tmp_path: Path, authority: Authority) -> None:
    """One file, chain and key beside each other, and certbot's folders; what else lies there is none of ours."""
    one, two, three, four = (authority.issue(f"{name}.example.net") for name in ("one", "two", "three", "four"))
    write(tmp_path, "one.pem", one.both)
    write(tmp_path, "two.crt", two.pem)
    write(tmp_path, "two.key", two.key)
    write(tmp_path, "three.pem", three.pem)
    write(tmp_path, "three.key", three.key)
    write(tmp_path, "four.example.net/fullchain.pem", four.pem)
    write(tmp_path, "four.example.net/privkey.pem", four.key)
    write(tmp_path, "README", b"This directory contains your keys and certificates.")
    write(tmp_path, ".two.crt.swp", b"editor")
    (tmp_path / "empty").mkdir()
    shelf = read(tmp_path)
    assert sorted(shelf.certificates) == ["four.example.net", "one.pem", "three.pem", "two.crt"]
    assert shelf.problems == {}
    assert shown(shelf, "two.example.net") == "two.crt"
    assert shown(shelf, "four.example.net") == "fullchain.pem"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a.example.net", "exact.pem"),
        ("A.Example.NET", "exact.pem"),
        ("a.example.net.", "exact.pem"),
        ("b.example.net", "wild.pem"),
        ("x.b.example.net", None),
        ("example.net", None),
        ("*.example.net", "wild.pem"),
        ("", None),
        ("..", None),
        ("../exact.pem", None),
        ("a" * 255, None),
        ("trailing\\", None),
        ("nul\0.example.org", None),
        ("/etc/passwd", None),
    ],
)
def test_names_are_looked_up(tmp_path: Path, authority: Authority, name: str, file: str | None) -> None:
    """TLS-11: exact before wildcard, which stands for one label; whatever a client writes is looked up, never a path."""
    write(tmp_path, "exact.pem", authority.issue("a.example.net").both)
    write(tmp_path, "wild.pem", authority.issue("*.example.net").both)
    assert shown(read(tmp_path), name) == file


@pytest.mark.parametrize(
    ("hostname", "default"), [("b.example", "b.pem"), ("x.c.example", "c.pem"), ("elsewhere.example", "a.pem")]
)
def test_who_we_are_decides_the_default(tmp_path: Path, authority: Authority, hostname: str, default: str) -> None:
    """TLS-11: a client that names nobody, or an unknown one, gets the certificate of node.name, else the first."""
    for name in ("a.example", "b.example", "*.c.example"):
        write(tmp_path, f"{name.split('.')[-2]}.pem", authority.issue(name).both)
    assert Path(read(tmp_path, hostname=hostname).default.source).name == default


def test_a_default_can_be_named(tmp_path: Path, authority: Authority) -> None:
    """A certificate called default is one, where none is for node.name."""
    write(tmp_path, "a.pem", authority.issue("a.example").both)
    write(tmp_path, "default.pem", authority.issue("z.example").both)
    assert Path(read(tmp_path, hostname="elsewhere.example").default.source).name == "default.pem"


def test_of_two_for_one_name_the_newer_is_shown(tmp_path: Path, authority: Authority) -> None:
    """The one that is valid, then the one that was issued later."""
    write(tmp_path, "1-new.pem", authority.issue("mx.example.net", begins=-2).both)
    write(tmp_path, "2-old.pem", authority.issue("mx.example.net", begins=-50).both)
    write(tmp_path, "3-over.pem", authority.issue("mx.example.net", begins=-1.5, ends=-1).both)
    assert shown(read(tmp_path), "mx.example.net") == "1-new.pem"


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o666, 0o602])
def test_a_key_that_everybody_can_read_is_refused(tmp_path: Path, issued: Issued, mode: int) -> None:
    """A private key readable (or writable) by others: said with the command that mends it."""
    path = write(tmp_path, "mx.pem", issued.both, mode)
    with pytest.raises(TlsError, match=rf"everybody on this machine.*chmod o= {path}"):
        read(tmp_path)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o440])
def test_a_key_for_us_or_our_group_is_taken(tmp_path: Path, issued: Issued, mode: int) -> None:
    """Debian's group ssl-cert may read keys: that is no fault."""
    write(tmp_path, "mx.pem", issued.both, mode)
    assert read(tmp_path).problems == {}


def test_a_chain_may_be_read_by_everybody(tmp_path: Path, issued: Issued) -> None:
    """Only the key is secret."""
    write(tmp_path, "mx.crt", issued.pem, 0o644)
    write(tmp_path, "mx.key", issued.key)
    assert read(tmp_path).problems == {}


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    """A log that was named .pem by mistake does not fill the memory."""
    write(tmp_path, "mx.pem", b"x" * 300_000)
    with pytest.raises(TlsError, match="larger than 256 kB"):
        read(tmp_path)


def test_absent_and_empty_folders_are_named(tmp_path: Path) -> None:
    """What there is to mend stands in the message."""
    with pytest.raises(TlsError, match="absent: cannot be read: No such file"):
        read(tmp_path / "absent")
    with pytest.raises(TlsError, match="holds no certificate"):
        read(tmp_path)


def test_at_a_start_one_broken_certificate_is_too_many(tmp_path: Path, authority: Authority) -> None:
    """A start says everything that is broken, and does not begin."""
    write(tmp_path, "good.pem", authority.issue("mx.example.net").both)
    write(tmp_path, "bad.pem", b"nothing")
    write(tmp_path, "worse.pem", authority.issue("a.example").pem)
    with pytest.raises(TlsError) as caught:
        Certificates(tmp_path, "mx.example.net").load(TODAY)
    assert len(str(caught.value).splitlines()) == 2
    assert "bad.pem" in str(caught.value)
    assert "worse.pem" in str(caught.value)


def test_what_has_not_changed_is_not_read_again(shelf: Path) -> None:
    """A look at a large folder costs a stat for each."""
    first = read(shelf)
    assert read(shelf, first) is first


def test_a_new_certificate_takes_over(shelf: Path, authority: Authority) -> None:
    """TLS-14: replaced files are read, those beside them are not."""
    write(shelf, "other.pem", authority.issue("other.example").both)
    before = read(shelf)
    write(shelf, "mx.pem", authority.issue("mx.example.net", ends=80).both)
    after = read(shelf, before)
    assert after.certificates["mx.pem"] is not before.certificates["mx.pem"]
    assert after.certificates["other.pem"] is before.certificates["other.pem"]


@pytest.mark.parametrize("broken", ["nothing", "mismatch", "expired", "future", "readable", "half", "no key"])
def test_a_broken_one_never_replaces_a_good_one(shelf: Path, authority: Authority, broken: str) -> None:
    """TLS-14: the old one keeps serving, and what is wrong with the new one is told."""
    before = read(shelf)
    new = authority.issue("mx.example.net")
    content = {
        "nothing": b"",
        "mismatch": authority.issue("mx.example.net").key + new.pem,
        "expired": authority.issue("mx.example.net", begins=-9, ends=-1).both,
        "future": authority.issue("mx.example.net", begins=1).both,
        "readable": new.both,
        "half": new.both[: len(new.both) // 2],
        "no key": new.pem,
    }[broken]
    write(shelf, "mx.pem", content, 0o644 if broken == "readable" else 0o600)
    after = read(shelf, before)
    assert after.certificates["mx.pem"] is before.certificates["mx.pem"]
    assert after.named("mx.example.net") is before.named("mx.example.net")
    assert list(after.problems) == ["mx.pem"]
    # and it stays so at the next look, when another file has come
    write(shelf, "other.pem", authority.issue("other.example").both)
    later = read(shelf, after)
    assert later.certificates["mx.pem"] is before.certificates["mx.pem"]
    assert list(later.problems) == ["mx.pem"]
    # until it is mended
    write(shelf, "mx.pem", new.both)
    assert read(shelf, later).problems == {}


def test_a_key_written_before_its_chain_is_waited_for(tmp_path: Path, authority: Authority) -> None:
    """TLS-14: tools write two files one after the other; between them the old pair serves."""
    old, new = authority.issue("mx.example.net"), authority.issue("mx.example.net")
    write(tmp_path, "mx.crt", old.pem)
    write(tmp_path, "mx.key", old.key)
    before = read(tmp_path)
    write(tmp_path, "mx.key", new.key)
    between = read(tmp_path, before)
    assert between.certificates["mx.crt"] is before.certificates["mx.crt"]
    write(tmp_path, "mx.crt", new.pem)
    after = read(tmp_path, between)
    assert after.certificates["mx.crt"] is not before.certificates["mx.crt"]
    assert after.problems == {}


def test_a_certificate_that_is_removed_is_shown_no_more(shelf: Path, authority: Authority) -> None:
    """Removing the files is how one stops showing it; the last one cannot be removed from a running server."""
    path = write(shelf, "other.pem", authority.issue("other.example").both)
    before = read(shelf)
    path.unlink()
    assert read(shelf, before).named("other.example") is None
    os.unlink(shelf / "mx.pem")
    with pytest.raises(TlsError, match="holds no certificate"):
        read(shelf, before)


def test_links_are_followed(tmp_path: Path, authority: Authority) -> None:
    """certbot's live folder holds links, and a renewal turns them: the change is seen."""
    old, new = authority.issue("mx.example.net"), authority.issue("mx.example.net")
    for number, issued in enumerate((old, new), 1):
        write(tmp_path, f"archive/fullchain{number}.pem", issued.pem)
        write(tmp_path, f"archive/privkey{number}.pem", issued.key)
    live = tmp_path / "live/mx.example.net"
    live.mkdir(parents=True)
    for number in (1, 2):
        for part in ("fullchain", "privkey"):
            draft = tmp_path / "draft"
            draft.symlink_to(tmp_path / f"archive/{part}{number}.pem")
            draft.rename(live / f"{part}.pem")
        if number == 1:
            before = read(tmp_path / "live")
    after = read(tmp_path / "live", before)
    assert after.default.end_point != before.default.end_point
    assert after.problems == {}


def test_warnings_of_a_folder_name_their_files(shelf: Path, authority: Authority) -> None:
    """`upesi config check` says which."""
    write(shelf, "soon.pem", authority.issue("a.example", ends=3).both)
    day = datetime.datetime.fromtimestamp(TODAY + 3 * 86400, datetime.UTC).strftime("%Y-%m-%d")
    assert list(read(shelf).warnings(TODAY)) == [f"{shelf}/soon.pem: expires on {day}"]
