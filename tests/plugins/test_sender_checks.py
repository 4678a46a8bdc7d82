"""The checks of senders beside each other: which runs behind which."""

from __future__ import annotations

import pytest

from upesi.config.settings import PluginsSettings
from upesi.hooks.describe import order_rows
from upesi.hooks.loading import load_plugins
from upesi.hooks.registry import Hooks
from upesi.hooks.services import SERVICES, Unused
from upesi.testkit import FakeClock, FakeResolver

CHECKS = ("authentication_results", "dmarc", "arc", "dkim", "spf", "sender_domain", "helo", "fcrdns")


def order(point: str, *enabled: str) -> list[str]:
    """Return the plugins of a point in the order in which they run."""
    clock = FakeClock()
    services = {**dict.fromkeys(SERVICES, Unused()), "clock": clock, "dns": FakeResolver(), "node": "mx.example.org"}
    plugins = load_plugins(PluginsSettings(enabled=enabled), services, lambda event, fields: None)
    hooks = Hooks.build(plugins, monotonic=clock.monotonic, emit=lambda event, fields: None)
    return [row.plugin for row in order_rows(hooks) if row.point == point]


def test_what_is_cheap_comes_first_and_the_field_last() -> None:
    """Whatever the order in the list: at MAIL who the client is comes before SPF, at the end the field comes behind what it tells of."""
    for enabled in (CHECKS, CHECKS[::-1]):
        mail = order("mail", *enabled)
        assert mail.index("spf") > max(mail.index(name) for name in ("fcrdns", "helo", "sender_domain"))
        message = order("message", *enabled)
        assert message.index("authentication_results") > max(message.index(name) for name in ("dkim", "arc", "dmarc"))


@pytest.mark.parametrize("name", ["spf", "fcrdns", "helo", "sender_domain", "authentication_results"])
def test_each_is_of_use_alone(name: str) -> None:
    """None needs another one: what is not enabled is not waited for."""
    assert name in order("mail", name) + order("message", name)
