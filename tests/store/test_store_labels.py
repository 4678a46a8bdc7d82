"""Labels of mail in the spool: kept, listed and chosen by."""

from __future__ import annotations

import msgspec
import pytest
from store_world import SqliteEngine, accept

from upesi.mail.handling import Labels
from upesi.spool.admin import Selector
from upesi.spool.records import NewDelivery
from upesi.spool.sqlite import SqliteStore


def labelled(delivery: NewDelivery, **labels: str) -> NewDelivery:
    recipients = tuple(msgspec.structs.replace(who, labels=Labels(**labels)) for who in delivery.recipients)
    return msgspec.structs.replace(delivery, recipients=recipients)


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (Selector(tenant="acme"), 2),
        (Selector(tenant="acme", campaign="spring"), 1),
        (Selector(pool="bulk"), 1),
        (Selector(pool="acme"), 0),
        (Selector(tenant="Acme"), 0),
        (Selector(tenant=""), 0),
    ],
)
async def test_labels_choose_deliveries(
    engine: SqliteEngine, store: SqliteStore, selector: Selector, expected: int
) -> None:
    """Exactly as they were given, after a restart too; mail without labels is chosen by none."""
    for labels in ({"tenant": "acme", "campaign": "spring"}, {"tenant": "acme"}, {"pool": "bulk"}, {}):
        await accept(store, engine.message(labelled(engine.delivery(due=100), **labels)))
    await engine.restart()
    assert engine.admin.count(selector) == expected
    assert engine.admin.hold(selector).changed == expected


async def test_listings_show_labels(engine: SqliteEngine, store: SqliteStore) -> None:
    """What plugins called the mail, on its line; nothing where they called it nothing."""
    await accept(store, engine.message(labelled(engine.delivery(due=100), tenant="acme", pool="bulk")))
    await accept(store, engine.message(engine.delivery(due=100)))
    assert [row.labels for row in engine.admin.list(Selector())] == [{"pool": "bulk", "tenant": "acme"}, {}]
