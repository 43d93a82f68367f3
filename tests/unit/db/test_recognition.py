# SPDX-License-Identifier: Apache-2.0
"""Which rows an agent's devices belong to, also where the agent is older, confused or lies."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from compute_shim.db import intent, models, queries, removal, syncs
from compute_shim.db.api import Database
from compute_shim.liveness import Window
from compute_shim.objects import Claim, Device, ReasonCode, State
from tests.unit.db.test_states import HOST, PROJECTS, SERVERS, empty_database

ELSEWHERE = "compute2"


def stick(number: int, serial: str = "", plug: int = 1, **changes: object) -> Device:
    """As an agent of RPC 1.2 tells of a new one in a socket."""
    found = Device(
        *(
            "x",
            "46f4",
            "0001",
            "",
            "",
            serial,
            "08",
            "480",
            f"1-{number}",
            1,
            plug,
            f"told {number} {serial}",
        ),
        socket=f"s{number}",
        plug_id=f"b/1.{plug}/{plug}",
        shared=True,
    )
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type]


def old_stick(number: int, serial: str = "", identity: str | None = None) -> Device:
    """As an agent of RPC 1.1 tells of it."""
    name = identity or (f"46f4:0001:{serial}" if serial else f"46f4:0001@1-{number}")
    return stick(number, serial, identity=name, socket=None, plug_id=None)


@pytest.fixture
def db() -> Database:
    return empty_database()


def sync(db: Database, *devices: Device, host: str = HOST) -> dict[str, Claim]:
    """Device id -> what the agent gets to know."""
    claims = queries.sync_host(db, host, "QEMU", "1.2", devices)
    return {claim.device_id: claim for claim in claims}


def known_as(device: Device, device_id: str) -> Device:
    return dataclasses.replace(device, device_id=device_id)


def only(ids: Iterable[str]) -> str:
    [found] = ids
    return found


def identities(db: Database) -> list[str]:
    return sorted(row.identity for row in queries.devices(db))


def test_a_device_is_recorded_with_all_that_finds_it_again(db: Database) -> None:
    device_id = only(sync(db, stick(1, "S", 7)))
    claim = sync(db, known_as(stick(2, "S", 8, follow="socket"), device_id))[device_id]
    assert (claim.vendor_id, claim.product_id, claim.serial) == ("46f4", "0001", "S")
    assert (claim.socket, claim.plug_id, claim.follow, claim.enabled) == ("s2", "b/1.8/8", "socket", True)
    assert identities(db) == ["46f4:0001:S"]


def test_before_the_agent_knows_the_claims_nothing_is_recorded(db: Database) -> None:
    before = sync(db, stick(1))
    claims = queries.sync_host(db, HOST, "QEMU", "1.2", None)
    assert {claim.device_id: claim for claim in claims} == before
    assert all(row.present for row in queries.devices(db))


def test_a_twin_changes_the_identity_and_nothing_else(db: Database) -> None:
    first = only(sync(db, stick(1, "S")))
    queries.set_device(db, first, description="the first", enabled=False)
    claims = sync(db, known_as(stick(1, "S"), first), stick(2, "S", 2))
    assert claims[first].serial_shared
    assert identities(db) == ["46f4:0001@s1:S", "46f4:0001@s2:S"]
    row = queries.device(db, first)
    assert row is not None
    assert (row.description, row.enabled, row.socket) == ("the first", False, "s1")


def test_that_a_serial_has_twins_is_known_when_both_are_forgotten(db: Database) -> None:
    for device_id in sync(db, stick(1, "S"), stick(2, " S ", 2)):
        sync(db)
        assert queries.forget(db, device_id)
    claim = next(iter(sync(db, stick(3, "S", 3)).values()))
    assert claim.serial_shared
    assert identities(db) == ["46f4:0001@s3:S"]
    assert next(iter(sync(db, stick(3, "S", 3), host=ELSEWHERE).values())).serial_shared is None


def test_of_a_device_that_is_unplugged_the_agent_learns_that_it_has_twins(db: Database) -> None:
    absent = only(sync(db, stick(1, "S")))
    sync(db)
    claims = sync(db, stick(2, "S", 2), stick(3, "S", 3))
    assert {claim.serial_shared for claim in claims.values()} == {True}
    assert absent in claims


def test_a_twin_that_is_not_offered_counts_as_well(db: Database) -> None:
    """The agent sees it and does not tell of it."""
    assert next(iter(sync(db, stick(1, "S", serial_shared=True)).values())).serial_shared


def shared_serials(db: Database) -> list[str]:
    with db.reader() as session:
        return sorted(session.scalars(sa.select(models.SharedSerial.serial)))


def test_devices_without_a_serial_number_share_none(db: Database) -> None:
    sync(db, stick(1), stick(2, plug=2), stick(3, "S", 3))
    assert shared_serials(db) == []


def test_a_serial_number_of_two_models_is_not_shared(db: Database) -> None:
    sync(db, stick(1, "S"), stick(2, "S", 2, product_id="0002"), stick(3, "S", 3, vendor_id="0781"))
    assert shared_serials(db) == []


def test_serial_numbers_of_twins_do_not_fill_the_database(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncs, "_SHARED_SERIALS_PER_HOST", 3)
    for first in ("A", "C", "E"):
        second = chr(ord(first) + 1)
        sync(
            db,
            *(stick(number, first, number) for number in (1, 2)),
            *(stick(number, second, number) for number in (3, 4)),
        )
        assert len(shared_serials(db)) <= 3
    assert shared_serials(db) == ["A", "B", "C"]
    # They count nevertheless while both are plugged in.
    assert identities(db)[-4:] == ["46f4:0001@s1:E", "46f4:0001@s2:E", "46f4:0001@s3:F", "46f4:0001@s4:F"]


def test_with_its_host_that_is_forgotten(db: Database) -> None:
    sync(db, stick(1, "S", serial_shared=True))
    never = Window(*[queries.host(db, HOST).last_seen.replace(year=2000)] * 2)
    assert removal.delete_host(db, HOST, never)
    with db.reader() as session:
        assert session.scalars(sa.select(models.SharedSerial)).all() == []


def test_what_the_agent_calls_new_again_is_the_same_plugging(db: Database) -> None:
    """The answer was lost."""
    first = sync(db, stick(1))
    assert sync(db, stick(1)) == first


def test_what_has_changed_of_the_same_plugging_is_recorded(db: Database) -> None:
    """The answer was lost, and the host uses the device now."""
    device_id = only(sync(db, stick(1)))
    used = stick(1, blocked_code=ReasonCode.HOST_MOUNT, blocked_reason="used by the host: mounted at /srv")
    assert sync(db, used)[device_id].state == State.UNAVAILABLE


def test_what_the_agent_calls_new_where_a_row_is_known_is_left_open(db: Database) -> None:
    """It learns of the row with the answer, and decides: the row is as it was."""
    first = sync(db, stick(1))
    assert sync(db, stick(1, plug=9)) == first
    assert [row.present for row in queries.devices(db)] == [True]


def test_of_two_devices_that_name_one_row_the_first_has_it(db: Database) -> None:
    device_id = only(sync(db, stick(1)))
    claims = sync(db, known_as(stick(1), device_id), known_as(stick(2, plug=2), device_id))
    assert [claim.socket for claim in claims.values()] == ["s1"]


def test_of_two_new_devices_of_one_plugging_the_first_has_the_row(db: Database) -> None:
    device_id = only(sync(db, stick(1)))
    claims = sync(db, stick(1), stick(2))
    assert (len(claims), claims[device_id].socket) == (2, "s1")


def test_a_row_of_another_host_cannot_be_named(db: Database) -> None:
    theirs = sync(db, stick(1), host=ELSEWHERE)
    device_id = only(theirs)
    ours = sync(db, known_as(stick(2), device_id))
    assert device_id not in ours
    assert {
        claim.device_id: claim for claim in queries.sync_host(db, ELSEWHERE, "QEMU", "1.2", None)
    } == theirs


def test_a_device_in_doubt_does_not_become_the_one_that_was_there(db: Database) -> None:
    device_id = only(sync(db, stick(1, plug=1)))
    doubtful = stick(1, plug=9, device_id=device_id, blocked_code=ReasonCode.IDENTITY_IN_DOUBT)
    doubtful = dataclasses.replace(doubtful, plug_id=None, blocked_reason="this or that")
    assert sync(db, doubtful)[device_id].plug_id == "b/1.1/1"
    row = queries.device(db, device_id)
    assert row is not None
    assert (row.state, row.reason_code) == (State.UNAVAILABLE, ReasonCode.IDENTITY_IN_DOUBT)
    assert not intent.claim(db, device_id, SERVERS[0], PROJECTS[SERVERS[0]])


def test_a_device_that_changes_its_ids_where_such_a_one_was_before_keeps_its_row(db: Database) -> None:
    """The identity of the other row is taken; a row is found by what its device is."""
    other = only(sync(db, stick(1, product_id="0002")))
    device_id = only(set(sync(db, stick(1, plug=2))) - {other})
    changed = known_as(stick(1, plug=3, product_id="0002"), device_id)
    claims = sync(db, changed)
    assert (claims[device_id].product_id, claims[device_id].plug_id) == ("0002", "b/1.3/3")
    assert sync(db, changed) == claims


# Old agents, before and after.


@pytest.mark.parametrize("serial", ["", "S"])
def test_rows_of_an_old_agent_go_on_under_a_new_one(db: Database, serial: str) -> None:
    device_id = only(sync(db, old_stick(1, serial)))
    assert intent.claim(db, device_id, SERVERS[0], PROJECTS[SERVERS[0]])
    queries.set_device(db, device_id, description="mine")
    claim = only_claim(sync(db, known_as(stick(1, serial), device_id)))
    assert (claim.device_id, claim.server_id, claim.socket) == (device_id, SERVERS[0], "s1")
    assert identities(db) == ["46f4:0001:S" if serial else "46f4:0001@s1"]


def test_of_an_old_agent_the_identity_alone_decides(db: Database) -> None:
    """It says that the serial number identifies the device no more."""
    before = set(sync(db, old_stick(1, "S")))
    after = set(sync(db, old_stick(1, "S", "46f4:0001@1-1")))
    assert before < after


@pytest.mark.parametrize(
    "before",
    [[stick(1)], [stick(1, "S")], [stick(1, "S"), stick(2, "S", 2)]],
    ids=["bare", "serial", "twins"],
)
def test_rows_of_a_new_agent_go_on_under_an_old_one(db: Database, before: list[Device]) -> None:
    ids = set(sync(db, *before))
    unique = len(before) == 1
    names = [None if unique else f"46f4:0001@1-{number}" for number in (1, 2)]
    old = [old_stick(number, item.serial, names[number - 1]) for number, item in enumerate(before, 1)]
    claims = sync(db, *old)
    assert set(claims) == ids
    assert {claim.identity for claim in claims.values()} == {item.identity for item in old}
    assert {claim.socket for claim in claims.values()} == {None}


def only_claim(claims: dict[str, Claim]) -> Claim:
    [found] = claims.values()
    return found


_told = st.builds(
    stick,
    st.integers(1, 3),
    st.sampled_from(["", "S"]),
    st.integers(1, 4),
    device_id=st.sampled_from([None, "0", "1", "2", "gone"]),
    serial_shared=st.sampled_from([None, True]),
)


@given(st.lists(st.lists(_told, max_size=4), max_size=4))
def test_whatever_is_told_no_row_is_shared_or_lost(syncs: list[list[Device]]) -> None:
    """Ids stand for rows by the order in which they came up."""
    db = empty_database()
    known: list[str] = list(sync(db, *(stick(number, plug=9) for number in (1, 2, 3))))
    assert intent.claim(db, known[0], SERVERS[0], PROJECTS[SERVERS[0]])
    for told in syncs:
        ids = {str(number): device_id for number, device_id in enumerate(known)}
        claims = sync(db, *(known_as(item, ids.get(item.device_id or "", "gone")) for item in told))
        assert set(known) <= set(claims)
        known += sorted(set(claims) - set(known))
        assert claims[known[0]].server_id == SERVERS[0]
        labels = identities(db)
        assert len(labels) == len(set(labels)) == len(known)
