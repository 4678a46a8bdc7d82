"""Where a stranger's DNS may not send us."""

from __future__ import annotations

import pytest

from upesi.client.destinations import is_forbidden


@pytest.mark.parametrize("address", [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1",
    "255.255.255.255", "240.0.0.1", "::", "::1", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
    "::ffff:8.8.8.8", "::ffff:10.0.0.1", "2002:7f00:1::",
    "mx.test", "", "0177.0.0.1", "2130706433",
])  # fmt: skip
def test_addresses_that_dns_must_not_lead_to(address):
    """DNS-04, ADM-03: loopback, private, link-local, shared, multicast, reserved, and the same hidden in IPv6."""
    assert is_forbidden(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "193.0.0.1", "2001:4860:4860::8888", "2a00:1450::1"])
def test_addresses_of_the_internet(address):
    """Everything global is allowed."""
    assert not is_forbidden(address)
