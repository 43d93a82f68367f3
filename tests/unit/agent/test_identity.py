# SPDX-License-Identifier: Apache-2.0
"""Which known device a plugged one is: each rule by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_shim.agent.identity import Identifier, identify
from compute_shim.objects import Claim, Device, Plugged, ReasonCode, State

BOOT, LAST_BOOT = "b1", "b0"
SERVER = "00000000-0000-0000-0000-000000000001"


def stick(number: int, serial: str = "", plug: int = 1, **changes: str) -> Plugged:
    """A stick in a port, plugged in for the so manieth time."""
    found = Plugged(
        *("x", "46f4", "0001", "", "", serial, "08", "480", f"1-{number}", 1, plug),
        socket=f"s{number}",
        plug_id=f"{BOOT}/{plug}",
    )
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type]


def row(
    name: str, number: int, serial: str = "", plug: int = 0, boot: str = BOOT, **changes: object
) -> Claim:
    """What is known of a stick."""
    found = Claim(
        *(name, f"label of {name}", f"1-{number}", 1),
        vendor_id="46f4",
        product_id="0001",
        serial=serial,
        socket=f"s{number}",
        plug_id=f"{boot}/{plug}",
        enabled=True,
    )
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type]


def old_row(name: str, identity: str, port: int, serial: str | None = None) -> Claim:
    """A row as an agent of RPC 1.1 left it; without a serial, as a conductor of RPC 1.1 tells it."""
    found = Claim(name, identity, f"1-{port}", 1)
    if serial is None:
        return found
    return dataclasses.replace(found, vendor_id="46f4", product_id="0001", serial=serial, enabled=True)


def ids(devices: list[Device]) -> dict[str, str | None]:
    return {device.port: device.device_id for device in devices}


def doubtful(devices: list[Device]) -> set[str]:
    return {device.port for device in devices if device.blocked_code == ReasonCode.IDENTITY_IN_DOUBT}


def test_a_device_with_a_serial_is_itself_in_any_socket() -> None:
    assert ids(identify([stick(2, "S ")], [row("a", 1, "S")])) == {"1-2": "a"}


@pytest.mark.parametrize("serial", ["", "  "])
def test_a_device_without_a_serial_is_itself_in_its_socket_only(serial: str) -> None:
    known = [row("a", 1, serial)]
    assert ids(identify([stick(1, serial), stick(2, serial)], known)) == {"1-1": "a", "1-2": None}
    assert ids(identify([stick(1, serial, product_id="0002")], known)) == {"1-1": None}


def test_the_socket_counts_and_not_the_port() -> None:
    """Bus numbers swap where two controllers are found in the other order."""
    swapped = [stick(1, plug=5, port="2-3"), stick(2, plug=6, port="1-3")]
    known = [row("a", 1, port="1-3", boot=LAST_BOOT), row("b", 2, port="2-3", boot=LAST_BOOT)]
    assert ids(identify(swapped, known)) == {"2-3": "a", "1-3": "b"}


def test_what_stays_plugged_in_stays_what_it_is_when_a_twin_comes() -> None:
    found = identify([stick(1, "S", 5), stick(2, "S", 3)], [row("b", 2, "S", 3)])
    assert ids(found) == {"1-1": None, "1-2": "b"}
    assert [device.serial_shared for device in found] == [True, True]


def test_a_twin_that_stays_does_not_become_the_one_that_goes() -> None:
    known = [
        row("a", 1, "S", 5, serial_shared=True),
        row("b", 2, "S", 3, serial_shared=True, server_id=SERVER),
    ]
    assert ids(identify([stick(1, "S", 5)], known)) == {"1-1": "a"}


def test_a_serial_that_was_seen_twice_identifies_nothing() -> None:
    assert ids(identify([stick(2, "S", 9)], [row("a", 1, "S", serial_shared=True)])) == {"1-2": None}
    assert ids(identify([stick(1, "S", 9)], [row("a", 1, "S", serial_shared=True)])) == {"1-1": "a"}
    assert ids(identify([stick(2, "S", 9)], [row("a", 1, "S")], {("46f4", "0001", "S")})) == {"1-2": None}


def test_of_two_that_it_may_be_it_is_the_one_that_a_server_has() -> None:
    """A phone that was known by the ids of both its modes, and came to the second one as a claim."""
    known = [row("a", 1, "S"), row("b", 2, "S", server_id=SERVER)]
    assert ids(identify([stick(3, "S", 9)], known)) == {"1-3": "b"}


def known_two(**first: object) -> list[Claim]:
    return [row("a", 1, **first), row("b", 2)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("guard", "doubt"),
    [
        ({}, False),
        ({"server_id": SERVER}, True),
        ({"state": State.DETACHING}, True),
        ({"enabled": False}, True),
    ],
)
def test_what_may_be_another_is_in_doubt_where_something_depends_on_it(
    guard: dict[str, Any], doubt: bool
) -> None:
    for port in (1, 2):
        found = identify([stick(port, plug=9)], known_two(**guard))
        assert ids(found) == {f"1-{port}": "a" if port == 1 else "b"}
        assert doubtful(found) == ({f"1-{port}"} if doubt else set())
        assert (found[0].plug_id is None) == doubt


def test_the_text_names_the_other_one() -> None:
    [found] = identify([stick(1, plug=9)], known_two(server_id=SERVER))
    assert found.blocked is not None
    assert "port 1-1 (socket s1)" in found.blocked.text
    assert "b (socket s2)" in found.blocked.text


def test_doubt_ends_when_the_other_one_is_back_in_its_socket() -> None:
    found = identify([stick(1, plug=9), stick(2, plug=10)], known_two(server_id=SERVER))
    assert (ids(found), doubtful(found)) == ({"1-1": "a", "1-2": "b"}, set())


def test_doubt_ends_when_the_other_one_is_forgotten() -> None:
    assert doubtful(identify([stick(1, plug=9)], known_two(server_id=SERVER)[:1])) == set()


def test_who_was_not_seen_since_the_boot_raises_no_doubt() -> None:
    known = [row("a", 1, server_id=SERVER), row("b", 2, boot=LAST_BOOT)]
    assert doubtful(identify([stick(1, plug=9)], known)) == set()


def test_what_stays_plugged_in_is_never_in_doubt() -> None:
    assert doubtful(identify([stick(1, plug=0)], known_two(server_id=SERVER))) == set()


def test_another_kind_of_device_raises_no_doubt() -> None:
    known = [row("a", 1, server_id=SERVER), row("b", 2, product_id="0002"), row("c", 3, "S")]
    assert doubtful(identify([stick(1, plug=9)], known)) == set()


PHONE: dict[str, Any] = {"vendor_id": "18d1", "product_id": "4ee1", "serial": "P", "follow": "socket"}


def follows(item: Plugged) -> bool:
    return item.vendor_id == "18d1"


@pytest.mark.parametrize("serial", ["P", "Q", ""])
def test_a_claim_that_follows_its_socket_takes_what_follows_there(serial: str) -> None:
    debugging = stick(1, serial, 7, vendor_id="18d1", product_id="4ee7")
    known = [row("a", 1, server_id=SERVER, **PHONE), row("b", 1, serial, vendor_id="18d1", product_id="4ee7")]
    assert ids(identify([debugging], known, (), follows)) == {"1-1": "a"}


@pytest.mark.parametrize(
    ("claim", "now"),
    [
        ({"server_id": None}, {}),
        ({"follow": None}, {}),
        ({}, {"vendor_id": "46f4"}),
        ({}, {"socket": "s2"}),
    ],
)
def test_nothing_else_is_followed(claim: dict[str, Any], now: dict[str, Any]) -> None:
    """No claim, no rule for what was there, no rule for what is there, another socket."""
    debugging = stick(1, "Q", 7, **({"vendor_id": "18d1", "product_id": "4ee7"} | now))
    known = [row("a", 1, **(PHONE | {"server_id": SERVER} | claim))]
    assert ids(identify([debugging], known, (), follows)) == {"1-1": None}


def test_what_was_plugged_in_before_the_claim_was_heard_of_is_followed() -> None:
    """What has a claim of its own keeps it."""
    debugging = stick(1, "P", 7, vendor_id="18d1", product_id="4ee7")
    plugged_in = row("b", 1, "P", plug=7, vendor_id="18d1", product_id="4ee7", follow="socket")
    known = [row("a", 1, server_id=SERVER, **PHONE), plugged_in]
    assert ids(identify([debugging], known, (), follows)) == {"1-1": "a"}
    claimed = dataclasses.replace(plugged_in, server_id=SERVER)
    assert ids(identify([debugging], [known[0], claimed], (), follows)) == {"1-1": "b"}


OLD: list[tuple[str, str, Callable[[], Plugged]]] = [
    ("46f4:0001:S", "S", lambda: stick(2, "S")),
    ("46f4:0001@1-1", "", lambda: stick(1)),
    ("46f4:0001@1-1", "S", lambda: stick(1, "S")),
]


@pytest.mark.parametrize(("identity", "serial", "plugged"), OLD)
@pytest.mark.parametrize("told", [True, False])
def test_rows_of_the_version_before_are_found(
    identity: str, serial: str, plugged: Callable[[], Plugged], told: bool
) -> None:
    """By what the row has, and by the identity alone, which is what an older conductor tells."""
    known = [old_row("a", identity, 1, serial if told else None)]
    [found] = identify([plugged()], known)
    assert (found.device_id, found.identity) == ("a", identity)


def test_a_row_of_the_version_before_is_not_found_by_another_serial() -> None:
    assert ids(identify([stick(1, "T")], [old_row("a", "46f4:0001@1-1", 1, "S")])) == {"1-1": None}


def test_a_device_that_was_known_by_its_port_has_had_a_twin() -> None:
    [found] = identify([stick(2, "S")], [old_row("a", "46f4:0001@1-1", 1, "S")])
    assert (found.device_id, found.serial_shared) == (None, True)


def test_twins_of_the_version_before_keep_their_rows() -> None:
    known = [old_row("a", "46f4:0001:S", 2, "S"), old_row("b", "46f4:0001@1-1", 1, "S")]
    assert ids(identify([stick(1, "S"), stick(2, "S")], known)) == {"1-1": "b", "1-2": "a"}


def test_a_row_that_an_older_conductor_tells_is_found_by_its_socket() -> None:
    known = [old_row("a", "46f4:0001@s1", 9), old_row("b", "46f4:0001@s2:S", 9)]
    assert ids(identify([stick(1), stick(2, "S")], known)) == {"1-1": "a", "1-2": "b"}


def test_new_devices_get_identities_that_an_older_conductor_keeps_apart() -> None:
    known = [old_row("a", "46f4:0001@1-3", 3, "")]
    moved = stick(3, plug=4, port="1-9")
    plugged = [stick(1, "S"), stick(2, "T"), stick(4, "T"), stick(5, port="1-3"), moved]
    found = identify(plugged, [*known, row("m", 3, plug=4, identity="46f4:0001@1-4")])
    assert [device.identity for device in found] == [
        "46f4:0001:S",
        "46f4:0001@1-2",
        "46f4:0001@s4:T",
        "46f4:0001@1-3",
        "46f4:0001@1-4",
    ]


_serials = st.sampled_from(["", "S", "T"])
_ports = st.integers(1, 4)
_rows = st.builds(
    row,
    st.sampled_from("abcdef"),
    _ports,
    _serials,
    st.integers(0, 5),
    st.sampled_from([BOOT, LAST_BOOT]),
    server_id=st.sampled_from([None, SERVER]),
    follow=st.sampled_from([None, "socket"]),
    serial_shared=st.booleans(),
    vendor_id=st.sampled_from(["46f4", "18d1"]),
)
_plugged = st.builds(stick, _ports, _serials, st.integers(0, 5), vendor_id=st.sampled_from(["46f4", "18d1"]))


@given(
    st.lists(_plugged, unique_by=lambda item: item.port),
    st.lists(_rows, unique_by=lambda item: item.device_id),
)
def test_no_two_devices_are_the_same(plugged: list[Plugged], known: list[Claim]) -> None:
    found = identify(plugged, known, (), follows)
    assert [device.port for device in found] == [item.port for item in plugged]
    taken = [device.device_id for device in found if device.device_id is not None]
    assert len(taken) == len(set(taken))
    assert len({device.identity for device in found}) == len(found)


# What the agent remembers while the conductor knows less.


def test_the_agent_remembers_what_the_conductor_has_not_heard() -> None:
    it, known = Identifier(), [row("a", 1, "S", 1)]
    assert ids(it.identify([stick(2, "S", 2)], known, follows)) == {"1-2": "a"}
    assert ids(it.identify([stick(2, "S", 2), stick(1, "S", 3)], known, follows)) == {"1-2": "a", "1-1": None}
    assert ids(it.identify([stick(1, "S", 3)], known, follows)) == {"1-1": None}


def test_who_took_a_device_meant_the_one_that_the_database_knows() -> None:
    """Not the one that the agent took for it when nothing depended on that."""
    it, known = Identifier(), known_two()
    assert doubtful(it.identify([stick(1, plug=9)], known, follows)) == set()
    taken = [dataclasses.replace(known[0], server_id=SERVER, generation=2), known[1]]
    assert doubtful(it.identify([stick(1, plug=9)], taken, follows)) == {"1-1"}


def test_what_is_forgotten_is_not_remembered() -> None:
    it, known = Identifier(), [row("a", 1)]
    it.identify([stick(1, plug=9)], known, follows)
    assert ids(it.identify([stick(1, plug=9)], [], follows)) == {"1-1": None}
    assert ids(it.identify([], known, follows)) == {}


def strangers(*plugged: list[Plugged], serial: str = "") -> Identifier:
    """An agent that has seen these, one after the other, while the conductor knew only of "a"."""
    it = Identifier()
    for now in plugged:
        it.identify(now, [row("a", 1, serial, server_id=SERVER)], follows)
    return it


@pytest.mark.parametrize("serial", ["", "S"])
def test_what_may_be_a_device_that_the_conductor_never_heard_of_is_in_doubt(serial: str) -> None:
    known = [row("a", 1, serial, server_id=SERVER)]
    it = strangers([stick(1, serial, 0), stick(2, serial, 5)], [stick(1, serial, 0)], [], serial=serial)
    [found] = it.identify([stick(1, serial, 6)], known, follows)
    assert (found.device_id, found.blocked_code) == ("a", ReasonCode.IDENTITY_IN_DOUBT)
    assert found.blocked is not None
    assert "a new one (socket s2)" in found.blocked.text
    # Whatever is in its socket now, nothing can be told from it but that.
    back = it.identify([stick(1, serial, 6), stick(2, serial, 7)], known, follows)
    assert (ids(back), doubtful(back)) == ({"1-1": "a", "1-2": None}, set())


def test_a_stranger_is_forgotten_when_the_conductor_has_heard_of_it() -> None:
    it = strangers([stick(1, plug=0), stick(2, plug=5)], [stick(1, plug=0)])
    known = [row("a", 1, server_id=SERVER), row("b", 2, plug=5)]
    assert doubtful(it.identify([stick(1, plug=6), stick(2, plug=7)], known, follows)) == set()
    # From now on its row counts, which an administrator may delete.
    assert doubtful(it.identify([stick(1, plug=8)], known, follows)) == {"1-1"}
    assert doubtful(it.identify([stick(1, plug=8)], known[:1], follows)) == set()


def test_a_stranger_of_another_kind_raises_no_doubt() -> None:
    it = strangers([stick(2, plug=5, product_id="0002")], [])
    found = it.identify([stick(1, plug=6)], [row("a", 1, server_id=SERVER)], follows)
    assert doubtful(found) == set()


def test_strangers_do_not_fill_the_memory() -> None:
    it = strangers(*([stick(2, plug=5, product_id=f"{number:04x}")] for number in range(600)))
    assert len(it._strangers) == 512
    assert ("s2", ("46f4", f"{599:04x}", "")) in it._strangers
