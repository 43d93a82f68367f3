# SPDX-License-Identifier: Apache-2.0
"""What agents send, whatever they send."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_shim import wire
from compute_shim.conductor import payloads
from compute_shim.objects import ClaimStatus, Device, Server
from tests.unit.db.test_states import STICK

GOOD = dataclasses.asdict(STICK)
OUTCOME: dict[str, Any] = {"device_id": "x", "generation": 1, "state": "attached", "reason": None}

texts = st.text(st.characters(), max_size=400)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)


def damaged(good: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A record in which anything may be anything."""
    return st.fixed_dictionaries({}, optional={name: anything | st.just(good[name]) for name in good})


def storable(value: Any) -> bool:
    """Whether every database would accept it."""
    if isinstance(value, str):
        return "\0" not in value and value.encode() is not None
    return value is None or (isinstance(value, int) and abs(value) < 2**31)


@given(st.lists(damaged(GOOD) | anything) | anything)
def test_bad_devices_spoil_nothing(values: Any) -> None:
    given_list = [*values, GOOD] if isinstance(values, list) else values
    found = payloads.devices(given_list)
    assert all(isinstance(device, Device) for device in found)
    assert all(storable(value) for device in found for value in wire.encode(device, (9, 9)).values())
    assert len({device.identity for device in found}) == len(found)
    if isinstance(values, list):
        assert GOOD["identity"] in {device.identity for device in found}


@given(st.lists(damaged(OUTCOME) | anything) | anything)
def test_bad_outcomes_spoil_nothing(values: Any) -> None:
    given_list = [*values, OUTCOME] if isinstance(values, list) else values
    found = payloads.outcomes(given_list)
    assert all(storable(value) for outcome in found for value in vars(outcome).values())
    if isinstance(values, list):
        assert ClaimStatus(**OUTCOME) in found


@given(texts, st.integers(1, 300))
def test_text_is_one_printable_line(text: str, length: int) -> None:
    clean = payloads.text(text, length)
    assert len(clean) <= length
    assert clean.splitlines() in ([], [clean])
    assert clean.encode().decode() == clean
    assert payloads.text(clean, length) == clean


def test_printable_text_stays_as_it_is() -> None:
    text = "<b>' OR 1=1 -- é 漢 \N{PILE OF POO} %s {0}"
    assert payloads.text(text) == text


@pytest.mark.parametrize("name", ["", " ", "\n", "a\0b", "x" * 256, None, 5, ["compute1"], "\ud800"])
def test_names_that_no_host_has(name: Any) -> None:
    with pytest.raises(ValueError, match="not the name of a host"):
        payloads.host(name)


@pytest.mark.parametrize("name", ["compute1", "compute_01", "fe80::1", "compute1.example.org", "Übung-3"])
def test_names_that_a_host_may_have(name: str) -> None:
    assert payloads.host(name) == name


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("identity", ""),
        ("identity", "x" * 256),
        ("identity", " padded "),
        ("identity", "a\nb"),
        ("vendor_id", "0781\n"),
        ("vendor_id", "781"),
        ("product_id", "ABCD"),
        ("device_class", "8"),
        ("speed", "fast"),
        ("port", "2-1/../../etc"),
        ("port", "2-1" + ".1" * 40),
        ("bus", -1),
        ("bus", 2**40),
        ("bus", True),
        ("device", "2"),
        ("name", None),
        ("blocked_reason", 5),
    ],
)
def test_fields_that_cannot_be(field: str, value: Any) -> None:
    assert payloads.devices([{**GOOD, field: value}]) == []


def test_one_identity_is_one_device() -> None:
    assert payloads.devices([GOOD, {**GOOD, "port": "2-2"}]) == [STICK]


def test_more_than_a_host_can_have_is_cut() -> None:
    many = [{**GOOD, "identity": str(number)} for number in range(3000)]
    assert len(payloads.devices(many)) == 1024


def test_a_newer_agent_may_say_more() -> None:
    assert payloads.devices([{**GOOD, "colour": "red"}]) == [STICK]


def test_a_digest_is_of_what_is_said_not_of_how() -> None:
    said = payloads.digest("QEMU", [{"port": "2-1", "bus": 2}], None)
    assert payloads.digest("QEMU", [{"bus": 2, "port": "2-1"}], None) == said
    others: list[tuple[Any, ...]] = [
        ("QEMU", [{"port": "2-1", "bus": "2"}], None),
        ("QEMU", [{"port": "2-1", "bus": 2}], []),
        ("QEMU", [{"port": "2-1", "bus": 2}]),
        ("QEMU", [{"port": "2-1", "bus": 2}, {"port": "2-1", "bus": 2}], None),
        ([{"port": "2-1", "bus": 2}], "QEMU", None),
    ]
    assert said not in [payloads.digest(*other) for other in others]


def test_a_digest_fits_its_column_whatever_is_said() -> None:
    for said in ("\ud800\x00", float("nan"), {"a": [None]}, "x" * 100000):
        assert len(payloads.digest(said)) == 64


SERVER: dict[str, Any] = {"uuid": "00000000-0000-0000-0000-000000000001", "running": True}


def test_servers_are_told_since_rpc_1_1() -> None:
    assert payloads.servers([SERVER, {**SERVER, "uuid": SERVER["uuid"][:-1] + "2", "later": 1}], "1.1") == {
        SERVER["uuid"]: Server(True),
        "00000000-0000-0000-0000-000000000002": Server(True),
    }
    assert payloads.servers([{**SERVER, "usb_ports": 3}], "1.3") == {SERVER["uuid"]: Server(True, 3)}
    assert payloads.servers([], "1.1") == {}
    assert payloads.servers(None, "1.1") is None
    assert payloads.servers(None, "1.0") == payloads.servers([SERVER], "1.0") == {}


@pytest.mark.parametrize(
    "wrong", ["x", {}, [SERVER, SERVER], [SERVER, {}], [{**SERVER, "uuid": "x"}], [{**SERVER, "running": 1}]]
)
def test_servers_are_not_known_where_anything_is_wrong(wrong: Any) -> None:
    """One that is left out would seem to be gone."""
    assert payloads.servers(wrong, "1.1") is None
