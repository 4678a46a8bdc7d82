"""The resolver against unbound, a validating one: records, absence, TCP, and what DNSSEC says of a zone that is signed, of one that is not,
and of one whose signatures are wrong."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dns.dnssec
import dns.rdatatype
import dns.zone
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from dns.dnssectypes import Algorithm
from dns.rdtypes.ANY.DNSKEY import DNSKEY

from integration.conftest import program
from integration.server import free_port, wait_until
from upesi.dns.resolver import Resolver
from upesi.mail.answers import Answer, Security, Status

_ZONE = """\
@       300 IN SOA ns hostmaster 1 3600 600 86400 60
@       300 IN NS ns
@       300 IN MX 10 mx
@       300 IN TXT "v=spf1 " "mx -all"
mx      300 IN A 192.0.2.1
mx      300 IN AAAA 2001:db8::1
ns      300 IN A 192.0.2.2
www     300 IN CNAME mx
big     300 IN TXT {big}
_25._tcp.mx 300 IN TLSA 3 1 1 {digest}
"""

_CONFIG = """\
server:
  interface: 127.0.0.1
  port: {port}
  do-daemonize: no
  chroot: ""
  username: ""
  directory: "{folder}"
  pidfile: ""
  use-syslog: no
  logfile: "{folder}/unbound.log"
  num-threads: 1
  outgoing-range: 32
  so-rcvbuf: 0
  access-control: 127.0.0.0/8 allow
  module-config: "validator iterator"
  {anchors}
remote-control:
  control-enable: no
"""

_AUTH = """\
auth-zone:
  name: "{name}"
  zonefile: "{file}"
  for-downstream: no
  for-upstream: yes
  fallback-enabled: no
"""


def _zone(name: str) -> dns.zone.Zone:
    big = " ".join(f'"{"x" * 250}"' for _ in range(20))
    text = _ZONE.format(big=big, digest="ab" * 32)
    return dns.zone.from_text(text, name, relativize=False)


def _signed(name: str) -> tuple[dns.zone.Zone, DNSKEY]:
    key = ec.generate_private_key(ec.SECP256R1())
    public = dns.dnssec.make_dnskey(key.public_key(), Algorithm.ECDSAP256SHA256, flags=257)
    zone = _zone(name)
    with zone.writer() as writer:
        dns.dnssec.sign_zone(zone, writer, [(key, public)], add_dnskey=True, dnskey_ttl=300, lifetime=86_400)
    return zone, public


def _tampered(zone: dns.zone.Zone) -> None:
    rdataset = zone.find_rdataset(dns.name.from_text("mx.bogus.example"), "A")
    other = dns.rdata.from_text("IN", "A", "192.0.2.66")
    zone.replace_rdataset("mx.bogus.example.", dns.rdataset.from_rdata(rdataset.ttl, other))


@pytest.fixture(scope="module")
def unbound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """Start unbound with three zones: signed.example, bogus.example (signed, and changed afterwards), plain.example."""
    binary = program("unbound")
    folder = tmp_path_factory.mktemp("unbound")
    zones = {"plain.example.": _zone("plain.example.")}
    anchors = []
    for name in ("signed.example.", "bogus.example."):
        zones[name], key = _signed(name)
        anchors.append(f'trust-anchor: "{name} DNSKEY {key.to_text()}"')
    _tampered(zones["bogus.example."])
    port = free_port()
    config = _CONFIG.format(port=port, folder=folder, anchors="\n  ".join(anchors))
    for name, zone in zones.items():
        file = folder / f"{name}zone"
        zone.to_file(str(file), relativize=False, want_origin=True)
        config += _AUTH.format(name=name, file=file)
    (folder / "unbound.conf").write_text(config)
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [binary, "-d", "-c", str(folder / "unbound.conf")], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        wait_until(lambda: _open(port) or process.poll() is not None, what="unbound's port")
        assert process.poll() is None, _said(folder)
        yield "127.0.0.1", port
    finally:
        process.terminate()
        process.wait(10)


def _open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _said(folder: Path) -> str:
    return "\n".join(file.read_text() for file in (folder / "output", folder / "unbound.log") if file.exists())


async def asked(server: tuple[str, int], name: str, kind: str, **options: object) -> Answer:
    with closing(Resolver(asyncio.get_running_loop(), (server,), os.urandom, timeout=20, **options)) as resolver:
        return await resolver.query(name, kind)


async def test_records_of_every_kind_come_from_a_real_resolver(unbound: tuple[str, int]) -> None:
    """RFC 1035: what the zone says is what is answered, through an alias too, in mixed case too."""
    mx = await asked(unbound, "plain.example", "MX", mix_case=True)
    assert [(record.preference, record.exchange) for record in mx.mx] == [(10, "mx.plain.example")]
    assert (await asked(unbound, "plain.example", "TXT")).texts == ("v=spf1 mx -all",)
    alias = await asked(unbound, "www.plain.example", "AAAA")
    assert (alias.texts, alias.name) == (("2001:db8::1",), "mx.plain.example")
    absent = await asked(unbound, "absent.plain.example", "A")
    assert (absent.status, absent.ttl) == (Status.NXDOMAIN, 60)
    assert (await asked(unbound, "mx.plain.example", "MX")).status is Status.NODATA


async def test_large_answers_come_by_tcp_from_a_real_resolver(unbound: tuple[str, int]) -> None:
    """RFC 7766 section 5: 5 kB do not fit a datagram of 1232 octets."""
    with closing(Resolver(asyncio.get_running_loop(), (unbound,), os.urandom, timeout=20)) as resolver:
        answer = await resolver.query("big.plain.example", "TXT")
        assert len(answer.texts[0]) == 5000
        assert resolver.upstreams[0].by_tcp == 1


async def test_a_validating_resolver_says_what_is_secure(unbound: tuple[str, int]) -> None:
    """RFC 4035 section 3.2.3: signed records and signed absence are secure, an unsigned zone is not."""
    for name, kind, status in (
        ("signed.example", "MX", Status.OK),
        ("_25._tcp.mx.signed.example", "TLSA", Status.OK),
        ("www.signed.example", "A", Status.OK),
        ("absent.signed.example", "A", Status.NXDOMAIN),
        ("mx.signed.example", "MX", Status.NODATA),
    ):
        answer = await asked(unbound, name, kind)
        assert (answer.status, answer.security) == (status, Security.SECURE), name
    assert (await asked(unbound, "plain.example", "MX")).security is Security.INSECURE


async def test_what_a_validating_resolver_refuses_is_bogus(unbound: tuple[str, int]) -> None:
    """RFC 4035 section 5.5: a record that was changed behind its signature is SERVFAIL, and an answer with CD: bogus."""
    answer = await asked(unbound, "mx.bogus.example", "A")
    assert (answer.status, answer.security, answer.texts) == (Status.SERVFAIL, Security.BOGUS, ())
    assert (await asked(unbound, "bogus.example", "MX")).secure
