# SPDX-License-Identifier: Apache-2.0
"""What agents send, whatever they send."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_shim import legacy_reasons, wire
from compute_shim.conductor import payloads
from compute_shim.db.models import REASON_LENGTH, TEXT_LENGTH
from compute_shim.objects import Claim, ClaimStatus, Device, ReasonCode, Server
from tests.unit.db.test_states import STICK

GOOD = dataclasses.asdict(STICK)
# The fields that agents of RPC 1.0 send, and those that came later.
FIRST = [field.name for field in wire.sent_fields(Device) if "since" not in field.metadata]
LATER = [field.name for field in wire.sent_fields(Device) if "since" in field.metadata]
PLUG_ID = "0f1e2d3c-0000-0000-0000-000000000001/123.4/56"
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
        ("vendor_id", 781),
        ("product_id", "ABCD"),
        ("device_class", "8"),
        ("speed", "fast"),
        ("port", "2-1/../../etc"),
        ("port", "2-1" + ".1" * 40),
        ("bus", -1),
        ("bus", 2**40),
        ("bus", True),
        ("device", "2"),
        ("device", 2**31),
        ("name", None),
        ("vendor", 5),
        ("product", 5),
        ("serial", None),
        ("blocked_reason", 5),
        ("blocked_code", "two words"),
        ("blocked_code", "x" * 65),
        ("blocked_code", 5),
        ("socket", "two words"),
        ("socket", ""),
        ("socket", "x" * 256),
        ("socket", 5),
        ("plug_id", "no boot"),
        ("plug_id", f"{PLUG_ID}\n"),
        ("plug_id", 5),
        ("device_id", 5),
        ("serial_shared", "yes"),
        ("follow", "x" * 17),
        ("follow", 5),
        ("shared", "yes"),
        ("projects", "demo"),
        ("projects", ["two words"]),
        ("projects", ["x" * 65]),
        ("projects", [5]),
        ("projects", ["demo"] * 1001),
        ("handover", "burn"),
        ("rule", 5),
        ("kind", "1-4"),
        ("kind", 5),
    ],
)
def test_fields_that_cannot_be(field: str, value: Any) -> None:
    assert payloads.devices([{**GOOD, field: value}]) == []


@pytest.mark.parametrize("name", FIRST)
def test_fields_that_every_agent_sends(name: str) -> None:
    assert payloads.devices([{key: value for key, value in GOOD.items() if key != name}]) == []


def test_whatever_an_agent_says_of_a_device_is_kept() -> None:
    said = {
        "identity": "x" * 255,
        "bus": 0,
        "device": 2**31 - 1,
        "blocked_code": "of_a_newer_agent2",
        "blocked_reason": "because",
        "socket": "x" * 255,
        "plug_id": PLUG_ID,
        "device_id": "00000000-0000-0000-0000-000000000001",
        "serial_shared": False,
        "follow": "socket",
        "shared": False,
        "projects": ["demo", "Other-2"],
        "handover": "wipe",
        "rule": '1: {"port": "2-1"}',
        "kind": "dongle",
    }
    [device] = payloads.devices([{**GOOD, **said}])
    assert vars(device) == vars(STICK) | said
    [device] = payloads.devices([{**GOOD, "projects": ["demo"] * 1000, "follow": "x" * 16, "kind": ""}])
    assert (len(device.projects or ()), device.follow, device.kind) == (1000, "x" * 16, "")


def test_what_came_later_an_agent_need_not_say() -> None:
    short = {name: value for name, value in GOOD.items() if name not in LATER}
    assert payloads.devices([short]) == [dataclasses.replace(STICK, shared=None)]


def test_a_number_that_json_made_a_fraction_is_a_number() -> None:
    [device] = payloads.devices([{**GOOD, "bus": 2.0}])
    assert repr(device.bus) == "2"


@pytest.mark.parametrize(
    ("code", "reason", "stored"),
    [
        (None, None, (None, None)),
        (None, "used by the host: swap space", ("host_swap", "used by the host: swap space")),
        (None, "of another language", ("host_use", "of another language")),
        (None, legacy_reasons.NOT_OFFERED, ("not_offered", legacy_reasons.NOT_OFFERED)),
        ("not_offered", "by rule 3", ("not_offered", legacy_reasons.NOT_OFFERED)),
        ("host_mount", "mounted at /srv", ("host_mount", "mounted at /srv")),
        ("host_mount", None, ("host_mount", "the compute host uses the device")),
    ],
)
def test_why_a_device_is_not_to_be_had(
    code: str | None, reason: str | None, stored: tuple[str | None, str | None]
) -> None:
    """Agents of RPC 1.0 send no code, and APIs of RPC 1.0 compare the text of what is not offered."""
    [device] = payloads.devices([{**GOOD, "blocked_code": code, "blocked_reason": reason}])
    assert (device.blocked_code, device.blocked_reason) == stored


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("device_id", ""),
        ("device_id", "x" * 256),
        ("device_id", 5),
        ("generation", -1),
        ("generation", 2**31),
        ("generation", "1"),
        ("state", "attaching"),
        ("reason", 5),
        ("reason_code", "two words"),
        ("reason_code", 5),
        ("wiped", -1),
        ("wiped", 101),
        ("wiped", "5"),
    ],
)
def test_outcomes_that_cannot_be(field: str, value: Any) -> None:
    assert payloads.outcomes([{**OUTCOME, field: value}]) == []
    assert payloads.outcomes([{key: it for key, it in OUTCOME.items() if key != field}] * 2) == (
        [] if field in OUTCOME else [ClaimStatus(**OUTCOME)] * 2
    )


@pytest.mark.parametrize("state", ["attached", "waiting", "failed", "detaching", "available", "unavailable"])
@pytest.mark.parametrize(("code", "wiped"), [("of_a_newer_agent2", 0), (None, 100), (None, None)])
def test_outcomes_that_may_be(state: str, code: str | None, wiped: int | None) -> None:
    said = OUTCOME | {"state": state, "generation": 0, "reason_code": code, "wiped": wiped}
    assert payloads.outcomes([said]) == [ClaimStatus(**said)]


@pytest.mark.parametrize(
    ("state", "reason", "code", "stored"),
    [
        ("waiting", "unplugged", None, "unplugged"),
        ("waiting", "unplugged", "server_off", "server_off"),
        ("failed", "libvirt says no", None, "hypervisor_error"),
        ("available", "libvirt says no", None, "reset_failed"),
        ("attached", None, None, None),
    ],
)
def test_the_code_of_an_outcome_that_comes_without_one(
    state: str, reason: str | None, code: str | None, stored: str | None
) -> None:
    [outcome] = payloads.outcomes([OUTCOME | {"state": state, "reason": reason, "reason_code": code}])
    assert (outcome.reason, outcome.reason_code) == (reason, stored)


def test_texts_are_cut_to_the_size_of_their_columns() -> None:
    long = "x" * (REASON_LENGTH + 1)
    [device] = payloads.devices([GOOD | {"name": long, "rule": long, "blocked_reason": long}])
    assert device.name == long[:TEXT_LENGTH]
    assert (device.rule, device.blocked_reason) == (long[:REASON_LENGTH],) * 2
    [outcome] = payloads.outcomes([OUTCOME | {"reason": long}])
    assert outcome.reason == long[:REASON_LENGTH]


@pytest.mark.parametrize("nonsense", [None, "no udev", {"no": "udev"}, 5])
def test_problems_that_are_no_list(nonsense: Any) -> None:
    assert payloads.problems(nonsense) == []


def test_problems_are_cut_to_the_size_of_their_column() -> None:
    long = "x" * REASON_LENGTH
    assert payloads.problems(["no\nudev", 5]) == ["no\N{REPLACEMENT CHARACTER}udev", "5"]
    assert payloads.problems([f"{long}x"]) == [long]
    assert payloads.problems([long[2:], "y"]) == [long[2:], "y"]
    assert payloads.problems([long[1:], "y", ""]) == [long[1:]]


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
    for ports in (0, 3, None):
        told = payloads.servers([{**SERVER, "usb_ports": ports}], "1.3")
        assert told == {SERVER["uuid"]: Server(True, ports)}
    assert payloads.servers([], "1.1") == {}
    assert payloads.servers(None, "1.1") is None
    assert payloads.servers(None, "1.0") == payloads.servers([SERVER], "1.0") == {}


@pytest.mark.parametrize(
    "wrong",
    [
        "x",
        {},
        [SERVER, SERVER],
        [SERVER, {}],
        [{**SERVER, "uuid": "x"}],
        [{**SERVER, "uuid": SERVER["uuid"].upper().replace("1", "A")}],
        [{**SERVER, "running": 1}],
        [{**SERVER, "usb_ports": -1}],
        [{**SERVER, "usb_ports": 2**31}],
        [{**SERVER, "usb_ports": "3"}],
    ],
)
def test_servers_are_not_known_where_anything_is_wrong(wrong: Any) -> None:
    """One that is left out would seem to be gone."""
    assert payloads.servers(wrong, "1.1") is None


def test_an_agent_of_rpc_1_0_is_told_reasons_in_its_own_words() -> None:
    claim = Claim("x", "0781:5567:A", "2-1", 1, reason="no stick", reason_code=ReasonCode.UNPLUGGED)
    assert payloads.claim(claim, "1.0")["reason"] == "unplugged"
    assert payloads.claim(claim, "1.1")["reason"] == "no stick"


@pytest.mark.parametrize("address", ["compute1", "compute_1.example.org", "192.0.2.1", "fd00::1"])
def test_where_a_host_is_reached(address: str) -> None:
    assert payloads.relay_address(address) == address


@pytest.mark.parametrize("wrong", ["", "-x", "a b", "a=b", "a\n", "x" * 256, None, 5, ["a"]])
def test_what_would_go_into_the_command_line_of_another_host(wrong: Any) -> None:
    assert payloads.relay_address(wrong) is None


@pytest.mark.parametrize(("port", "known"), [(1, 1), (65535, 65535), (None, None)])
def test_the_port_of_a_relay(port: Any, known: int | None) -> None:
    outcome = {"device_id": "x", "generation": 1, "state": "waiting", "reason": None, "port": port}
    assert [it.port for it in payloads.outcomes([outcome])] == [known]
    for wrong in (0, 65536, -1, "80", True, 1.5):
        assert payloads.outcomes([outcome | {"port": wrong}]) == []


def test_claims_on_devices_of_other_hosts_are_for_agents_that_know_them() -> None:
    own = Claim("x", "0781:5567:A", "2-1", 1, peer="compute2")
    other = Claim("y", "0781:5567:B", "2-1", 1, peer="compute2", address="")
    assert [claim["device_id"] for claim in payloads.claims([own, other], "1.4")] == ["x", "y"]
    [old] = payloads.claims([own, other], "1.3")
    assert old["device_id"] == "x"
    assert not {"peer", "address"} & old.keys()
    lost = Claim("x", "0781:5567:A", "2-1", 1, reason_code=ReasonCode.NO_NETWORK_TRANSPORT)
    assert payloads.claim(lost, "1.3")["reason_code"] == ReasonCode.SERVER_ON_OTHER_HOST
    assert payloads.claim(lost, "1.4")["reason_code"] == ReasonCode.NO_NETWORK_TRANSPORT
