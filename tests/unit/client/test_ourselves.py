"""Which addresses lead back to us."""

from __future__ import annotations

import pytest

from upesi.client.ourselves import Ourselves, is_local

LISTENERS = [("192.0.2.1", 25), ("0.0.0.0", 2525), ("2001:db8::1", 25), ("::", 2626)]
OF_THIS_MACHINE = {"192.0.2.1", "192.0.2.2", "2001:db8::2"}


@pytest.mark.parametrize(
    ("address", "port", "expected"),
    [
        ("192.0.2.1", 25, True),
        ("192.0.2.1", 26, False),
        ("192.0.2.2", 25, False),
        ("192.0.2.2", 2525, True),
        ("192.0.2.3", 2525, False),
        ("0.0.0.0", 2525, True),
        ("2001:db8:0::1", 25, True),
        ("2001:db8::2", 2626, True),
        ("2001:db8::2", 2525, False),
        ("192.0.2.2", 2626, False),
        ("::ffff:192.0.2.1", 25, True),
        ("no address", 25, False),
    ],
)
def test_our_own_listeners_are_known_by_address(address: str, port: int, expected: bool) -> None:
    """C22: an address is ours where we listen on it and on that port, or on all addresses of this machine."""
    assert Ourselves(LISTENERS, OF_THIS_MACHINE.__contains__)(address, port) is expected


def test_the_kernel_is_asked_which_addresses_are_ours() -> None:
    """Loopback is this machine's, a documentation address (RFC 5737) is not."""
    assert is_local("127.0.0.1")
    assert not is_local("192.0.2.77")
