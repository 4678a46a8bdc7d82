"""The cache of answers and the list of servers."""

from __future__ import annotations

import pytest

from upesi.dns.cache import TtlCache
from upesi.dns.servers import configured_servers, parse_server, servers_from_resolv_conf


def test_values_live_for_their_time():
    """A value is gone at its TTL; one with no TTL was never there."""
    now = [0.0]
    cache = TtlCache(10, lambda: now[0])
    cache.put("a", 1, 10)
    cache.put("b", 2, 0)
    assert (cache.get("a"), cache.get("b")) == (1, None)
    now[0] = 9.9
    assert cache.get("a") == 1
    now[0] = 10.0
    assert cache.get("a") is None
    assert len(cache) == 0


def test_cache_is_bounded_and_forgets_the_least_recently_used():
    """DNS-08: a million names are no more than the capacity."""
    cache = TtlCache(3, lambda: 0.0)
    for key in "abc":
        cache.put(key, key, 10)
    cache.get("a")
    cache.put("d", "d", 10)
    assert [cache.get(key) for key in "abcd"] == ["a", None, "c", "d"]
    for number in range(1000):
        cache.put(str(number), "", 10)
    assert len(cache) == 3


def test_resolv_conf_is_read_as_the_c_library_reads_it():
    """resolv.conf(5): three servers at most, unknown lines passed over, the local one without any."""
    lines = ["# x", "search a.test", "nameserver 192.0.2.1", "nameserver nonsense", "nameserver fe80::1%eth0", "nameserver 2001:db8::1",
             "nameserver 192.0.2.9"]  # fmt: skip
    assert servers_from_resolv_conf(lines) == (("192.0.2.1", 53), ("fe80::1", 53), ("2001:db8::1", 53))
    assert servers_from_resolv_conf([]) == (("127.0.0.1", 53),)


@pytest.mark.parametrize(("text", "server"), [
    ("192.0.2.1", ("192.0.2.1", 53)), ("192.0.2.1:5353", ("192.0.2.1", 5353)), ("2001:db8::1", ("2001:db8::1", 53)),
    ("[2001:db8::1]:5353", ("2001:db8::1", 5353)),
])  # fmt: skip
def test_configured_servers(text, server):
    """Addresses of both families, with and without a port."""
    assert parse_server(text) == server


@pytest.mark.parametrize("text", ["", "dns.test", "192.0.2.1:0", "192.0.2.1:x", "192.0.2.1:70000", "[x]"])
def test_configured_server_that_is_none(text):
    """What is no address is refused when the configuration is read."""
    with pytest.raises(ValueError):
        parse_server(text)


def test_configuration_comes_before_the_machines_own_servers(tmp_path):
    """`dns.servers` where it names any, else the file, else the server on this machine."""
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 192.0.2.7\n")
    assert configured_servers(["192.0.2.1"], str(conf)) == (("192.0.2.1", 53),)
    assert configured_servers([], str(conf)) == (("192.0.2.7", 53),)
    assert configured_servers([], str(tmp_path / "none")) == (("127.0.0.1", 53),)
