# SPDX-License-Identifier: Apache-2.0
"""Objects on the message bus between programs of different versions."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_shim import wire
from compute_shim.objects import LOCAL, Claim, ClaimStatus, Device, ReasonCode, since
from tests.functional import recorded
from tests.functional.recorded import old_tree

CLAIM = Claim("device", "identity", "2-1", 3, "server", "waiting", "the server is off", ReasonCode.SERVER_OFF)


@pytest.mark.parametrize(
    ("new", "old"),
    [(Claim, old_tree.Claim), (Device, old_tree.Device), (ClaimStatus, old_tree.Outcome)],
)
def test_a_receiver_of_rpc_1_0_gets_its_own_fields(new: Any, old: Any) -> None:
    """It refuses all others."""
    fields = {field.name for field in dataclasses.fields(new) if not field.metadata}
    assert fields == {field.name for field in dataclasses.fields(old)}


def test_what_is_not_known_yet_is_ignored() -> None:
    encoded = wire.encode(CLAIM, (1, 1)) | {"colour": "red"}
    assert wire.decode(Claim, encoded) == CLAIM


def test_what_is_not_sent_has_its_default() -> None:
    encoded = wire.encode(CLAIM, (1, 0))
    assert "reason_code" not in encoded
    assert wire.decode(Claim, encoded) == dataclasses.replace(CLAIM, reason_code=None)


def test_what_must_be_there_is_missed() -> None:
    with pytest.raises(TypeError, match="identity"):
        wire.decode(Claim, {"device_id": "device"})


@dataclasses.dataclass(frozen=True)
class Grown:
    """Grew twice."""

    name: str
    first: str | None = since("1.1")
    second: str | None = since("1.10")
    own: int = dataclasses.field(default=0, kw_only=True, metadata=LOCAL)


@given(version=st.tuples(st.integers(1, 3), st.integers(0, 20)))
def test_a_field_is_sent_from_its_version_on(version: tuple[int, int]) -> None:
    sent = wire.encode(Grown("n", first="f", second="s"), version)
    assert ("first" in sent, "second" in sent) == (version >= (1, 1), version >= (1, 10))
    assert wire.decode(Grown, sent).name == "n"


@pytest.mark.parametrize("text", ["", "1", "one.two", "1.0.3", "-1.2", "\N{SUPERSCRIPT TWO}.1"])
def test_what_is_no_version_is_the_first(text: str) -> None:
    assert wire.number(text) == wire.FIRST


def test_ten_is_more_than_nine() -> None:
    assert wire.number("1.10") > wire.number("1.9")


def test_recorded_claims_decode() -> None:
    syncs = [message for message in recorded.agent_messages() if message.method == "sync"]
    claims = [claim for message in syncs for claim in message.answer]
    assert claims
    for claim in claims:
        decoded = dataclasses.asdict(wire.decode(Claim, claim))
        assert {name: value for name, value in decoded.items() if name in claim} == claim
        assert {value for name, value in decoded.items() if name not in claim} == {None}


@given(version=st.tuples(st.integers(1, 3), st.integers(0, 20)))
def test_a_local_field_stays_here(version: tuple[int, int]) -> None:
    sent = wire.encode(Grown("n", own=7), version)
    assert "own" not in sent
    assert wire.decode(Grown, sent | {"own": 7}).own == 0
