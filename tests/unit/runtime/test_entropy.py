"""The kernel's randomness, a page at a time."""

from upesi.runtime.entropy import Entropy


def test_no_octets_are_given_twice() -> None:
    """Ids of different messages never come from the same octets."""
    entropy = Entropy()
    given = [entropy(10) for _ in range(5000)]
    assert all(len(octets) == 10 for octets in given)
    assert len(set(given)) == len(given)
