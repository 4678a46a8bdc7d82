"""What plugins may say of how mail is handled, and that nothing else can be said."""

from __future__ import annotations

import msgspec
import pytest

from upesi.mail.address import Address
from upesi.mail.envelope import Recipient
from upesi.mail.handling import MAX_LABEL, NO_LABELS, Handling, Labels


@pytest.mark.parametrize(
    "wrong",
    [
        {"priority": 10}, {"priority": -10}, {"priority": 1.5}, {"priority": True}, {"lifetime": 0}, {"lifetime": float("nan")},
        {"lifetime": "1h"}, {"lifetime": True}, {"tenant": "a b"}, {"tenant": "x" * (MAX_LABEL + 1)}, {"pool": "-x"},
        {"campaign": "a\n"}, {"campaign": "caf\u00e9"}, {"tenant": 7}, {"tenant": None},
    ],
)  # fmt: skip
def test_what_cannot_be_is_an_error_of_its_plugin(wrong: dict[str, object]) -> None:
    """PLG-06: a label is bounded and of plain characters, a priority one of RFC 6710's, a lifetime some time."""
    with pytest.raises((TypeError, ValueError)):
        Handling(**wrong)  # type: ignore[arg-type]


def test_the_longest_label_and_every_priority_are_taken() -> None:
    """The bounds mean what they say."""
    assert Handling(tenant="x" * MAX_LABEL).labels.tenant == "x" * MAX_LABEL
    assert [Handling(priority=value).priority for value in range(-9, 10)] == list(range(-9, 10))


def test_what_one_copy_does_not_say_the_message_says() -> None:
    """A recipient's handling goes before the transaction's, field by field."""
    general = Handling(priority=3, tenant="acme", lifetime=60)
    assert Handling(priority=0, campaign="spring").over(general) == Handling(
        priority=0, lifetime=60, tenant="acme", campaign="spring"
    )
    assert general.over(None) is general


def test_mail_without_labels_is_written_as_before() -> None:
    """Nothing more is stored for it; what an older program wrote reads as mail without labels."""
    plain = Recipient(Address.parse("b@example.org"))
    assert Handling(priority=1).labels is NO_LABELS
    assert b"labels" not in msgspec.msgpack.encode(plain)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(plain), type=Recipient).labels is NO_LABELS
    labelled = msgspec.structs.replace(plain, labels=Labels(tenant="acme"))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(labelled), type=Recipient) == labelled
    assert labelled.labels.given == {"tenant": "acme"}
