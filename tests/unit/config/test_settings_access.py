"""Lists of networks that are believed: what is wrong with them is said, and what they match is what was written."""

from pathlib import Path

import pytest

from upesi.config import ConfigError, load
from upesi.config.networks import Networks, network

LISTENER = "[[listener]]\n"
OVERLAP = "listener[0].xforward: overlaps xclient: a client is believed for everything or for the log"
# (text, complaint): one mistake each
MISTAKES = [
    (LISTENER + 'proxy = ["10.0.0.1/8"]',
     "listener[0].proxy[0]: 10.0.0.1/8 has bits behind its /8: write 10.0.0.0/8 for the network, 10.0.0.1 for the one address"),
    (LISTENER + 'proxy = ["balancer"]',
     "listener[0].proxy[0]: 'balancer' is no network such as 192.0.2.0/24 or 2001:db8::/32, and no address"),
    (LISTENER + 'proxy = ["0.0.0.0/0"]', "listener[0].proxy[0]: 0.0.0.0/0 is the whole Internet: anybody could be anybody"),
    (LISTENER + 'xclient = ["10.0.0.1", "::/0"]', "listener[0].xclient[1]: ::/0 is the whole Internet: anybody could be anybody"),
    (LISTENER + 'xclient = ["0.0.0.0/1"]', "listener[0].xclient[0]: 0.0.0.0/1 is wider than /8: too many to believe"),
    (LISTENER + 'proxy = ["10.0.0.0/8", "128.0.0.0/7"]', "listener[0].proxy[1]: 128.0.0.0/7 is wider than /8: too many to believe"),
    (LISTENER + 'xforward = ["2000::/15"]', "listener[0].xforward[0]: 2000::/15 is wider than /16: too many to believe"),
    ('[etrn]\nnetworks = ["128.0.0.0/1"]', "etrn.networks[0]: 128.0.0.0/1 is wider than /8: too many to believe"),
    (LISTENER + 'xforward = ["::ffff:10.0.0.1"]', "listener[0].xforward[0]: ::ffff:10.0.0.1 means an IPv4 network: write that"),
    (LISTENER + 'xclient = ["10.0.0.0/8"]\nxforward = ["10.1.0.0/16"]', OVERLAP),
    ('[etrn]\nnetworks = ["0.0.0.0/0"]', "etrn.networks[0]: 0.0.0.0/0 is the whole Internet: anybody could be anybody"),
    ('[etrn]\nidentities = ["a"]\ndomains = ["a_b"]', "etrn.domains[0]: 'a_b' is no name of a domain: domain is not valid"),
    ('[etrn]\ndomains = ["a.example"]', "etrn.domains: nobody may ask for them: name networks or identities too"),
    ('[smtp]\nmax_header_size = "300kB"', "smtp.max_header_size: is above 262144: further than plugins can look"),
    ("[smtp]\nmax_messages = -1", "smtp.max_messages: cannot be negative (0: as many as a client likes)"),
    ("[smtp]\nmax_header_fields = 0", "smtp.max_header_fields: must be more than 0"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MISTAKES)
def test_mistakes_are_named(tmp_path: Path, text: str, expected: str) -> None:
    """A list that believes nobody, everybody or two things at once is refused when the configuration is read."""
    path = tmp_path / "upesi.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert str(problem).partition(": ")[2] == expected


@pytest.mark.parametrize(
    ("address", "within"),
    [
        ("192.0.2.1", True), ("192.0.2.255", True), ("192.0.3.0", False), ("2001:db8::1", True), ("2001:db9::1", False),
        ("198.51.100.7", True), ("198.51.100.8", False), ("", False), ("local", False), ("::ffff:192.0.2.1", False),
    ],
)  # fmt: skip
def test_an_address_is_in_a_network_of_its_family(address: str, within: bool) -> None:
    """PRX-01: only what is listed is believed; a Unix socket has no address and so no rights by network."""
    networks = Networks(["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"])
    assert (address in networks) is within
    # the second answer comes from memory
    assert (address in networks) is within


def test_all_that_is_private_may_be_believed(tmp_path: Path) -> None:
    """PRX-01: the widest networks that somebody can own, 10.0.0.0/8 and fc00::/7 among them, are in order."""
    path = tmp_path / "upesi.toml"
    path.write_text(LISTENER + 'proxy = ["10.0.0.0/8", "17.0.0.0/8", "fc00::/7", "fe80::/10", "2001::/16"]')
    assert len(load(path).listener[0].proxy) == 5


def test_no_networks_hold_nobody() -> None:
    """Off is the default."""
    assert not Networks([])
    assert "127.0.0.1" not in Networks([])


def test_networks_of_two_families_do_not_overlap() -> None:
    """IPv4 and IPv6 are compared each with its own."""
    assert Networks(["10.0.0.0/8"]).overlap(Networks(["::1", "10.9.0.0/16"]))
    assert not Networks(["10.0.0.0/8", "::1"]).overlap(Networks(["11.0.0.0/8", "::2"]))


def test_a_network_with_bits_behind_its_prefix_is_refused() -> None:
    """It may be meant as one address or as the whole network: the operator is asked."""
    with pytest.raises(ValueError, match="host bits"):
        network("192.0.2.1/24")
