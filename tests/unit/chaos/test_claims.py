# SPDX-License-Identifier: Apache-2.0
"""The oracle of a chaos run on several hosts sees what is wrong."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.chaos.claims import (
    ATTACHED,
    ELSEWHERE,
    FREE,
    GONE,
    OFF,
    UNPLUGGED,
    Claim,
    Found,
    View,
    disagreements,
)

PLACE = {"on-a": "a", "on-b": "b"}
# One device of each host is attached on its host, carried to the other one, and free.
CLAIMS = {"a1": Claim("on-a", "local"), "b1": Claim("on-a", "any")}
HOMES = {"a1": "a", "a2": "a", "b1": "b", "b2": "b"}
SHOWN: dict[str, tuple[Found, str | None]] = {
    "a1": (ATTACHED, "on-a"),
    "a2": (FREE, None),
    "b1": (ATTACHED, "on-a"),
    "b2": (GONE, None),
}
LISTED = {"on-a": ["a1", "b1"], "on-b": []}
GOOD = View(
    homes=HOMES,
    unplugged={"b2"},
    shown=SHOWN,
    listed=LISTED,
    relays={"a": ["b1"], "b": ["b1"]},
)


def wrong(claims: dict[str, Claim] = CLAIMS, off: str = "", **changes: Any) -> list[str]:
    view = dataclasses.replace(GOOD, **changes)
    return list(disagreements(view, claims, PLACE, PLACE.keys() - {off}))


def test_all_agree() -> None:
    assert wrong() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shown": SHOWN | {"a2": (UNPLUGGED, None)}}, "a2 of a: should be one of"),
        ({"shown": SHOWN | {"b1": (OFF, "on-a")}}, "b1 of b: should be one of"),
        ({"shown": SHOWN | {"b1": (ATTACHED, "on-b")}}, "b1 of b: claimed by"),
        ({"shown": SHOWN | {"a2": (FREE, "on-b")}}, "a2 of a: claimed by"),
        ({"listed": {"on-a": ["a1"], "on-b": []}}, "on-a: its guest has"),
        ({"listed": {"on-a": ["a1", "b1"], "on-b": ["a2"]}}, "on-b: its guest has"),
        ({"listed": {"on-a": ["a1", "b1"], "on-b": ["b1"]}}, "on-a and on-b both hold"),
        ({"relays": {"a": [], "b": ["b1"]}}, "a: there are relays for"),
        ({"relays": {"a": ["b1", "b1"], "b": ["b1"]}}, "a: there are relays for"),
        ({"relays": {"a": ["b1"], "b": ["b1", "b2"]}}, "b: there are relays for"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], said: str) -> None:
    assert [text for text in wrong(**changes) if text.startswith(said)]


@pytest.mark.parametrize(
    ("claim", "off", "unplugged", "state"),
    [
        (Claim("on-b", "local"), "", False, ELSEWHERE),
        (Claim("on-a", "local"), "on-a", False, OFF),
        (Claim("on-b", "network"), "on-b", False, OFF),
        (Claim("on-a", "any"), "", True, UNPLUGGED),
        (Claim("on-b", "any"), "", True, UNPLUGGED),
    ],
)
def test_what_a_claim_waits_for(claim: Claim, off: str, unplugged: bool, state: Found) -> None:
    shown = SHOWN | {"a2": (state, claim.server)}
    listed = {name: devices for name, devices in LISTED.items() if name != off}
    away = {"b2", "a2"} if unplugged else {"b2"}
    # What the other claims are to be is not told here.
    found = wrong(CLAIMS | {"a2": claim}, off, shown=shown, listed=listed, unplugged=away)
    assert not [text for text in found if text.startswith("a2")]
    found = wrong(
        CLAIMS | {"a2": claim}, off, shown=shown | {"a2": (FREE, claim.server)}, unplugged=away, listed=listed
    )
    assert [text for text in found if text.startswith("a2")]
