# SPDX-License-Identifier: Apache-2.0
"""The rules of a device's state, against all that agents, clients and operators may do, in any order."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from oslo_config import cfg

from compute_shim.conf import database
from compute_shim.db import handover, intent, models, queries, states
from compute_shim.db.api import Database
from compute_shim.objects import ClaimStatus, Device, Reason, ReasonCode, State
from novaclient_usb.reason_codes import describe
from tests.unit.clock import clock

HOST = "compute1"
SERVERS = ["00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"]
PROJECTS = {SERVERS[0]: "demo", SERVERS[1]: "other"}

STICK = Device(
    identity="0781:5567:A",
    name="SanDisk Corp. Cruzer Blade",
    vendor_id="0781",
    product_id="5567",
    vendor="SanDisk Corp.",
    product="Cruzer Blade",
    serial="A",
    device_class="08",
    speed="480",
    port="2-1",
    bus=2,
    device=2,
    shared=True,
)

BECAUSE = ReasonCode.HYPERVISOR_ERROR
ANSWERS = [State.ATTACHED, State.WAITING, State.FAILED]

servers = st.sampled_from(SERVERS)


def empty_database() -> Database:
    """A database in memory."""
    conf = cfg.ConfigOpts()
    database.register(conf)
    conf([], default_config_files=[], default_config_dirs=[])
    conf.set_override("connection", "sqlite://", group="database")
    db = Database(conf)
    models.Base.metadata.create_all(db.engine())
    return db


class OneDevice(RuleBasedStateMachine):
    """One device, and all that can happen to it."""

    @initialize()
    def begin(self) -> None:
        self.db = empty_database()
        queries.sync_host(self.db, HOST, "QEMU", "1.0", [STICK])
        self.id = queries.devices(self.db)[0].id
        self.generation = 0
        self.now = self.row

    @property
    def row(self) -> models.Device:
        row = queries.device(self.db, self.id)
        assert row is not None
        return row

    @rule(blocked=st.sampled_from([None, None, ReasonCode.HOST_MOUNT]))
    def plug(self, blocked: str | None) -> None:
        device = Device(
            **{**vars(STICK), "blocked_code": blocked, "blocked_reason": blocked and "mounted at /srv"}
        )
        claims = queries.sync_host(self.db, HOST, "QEMU", "1.0", [device])
        assert claims == [states.claim_of(self.row)]
        assert self.row.present

    @rule()
    def unplug(self) -> None:
        before = self.row
        queries.sync_host(self.db, HOST, "QEMU", "1.0", [])
        assert not self.row.present
        if before.instance_uuid is not None:
            assert self.row.state == before.state

    @rule(enabled=st.booleans())
    def operate(self, enabled: bool) -> None:
        queries.set_device(self.db, self.id, enabled=enabled)

    @rule(server=servers)
    def claim(self, server: str) -> None:
        free = self.row.state == State.AVAILABLE
        assert intent.claim(self.db, self.id, server, PROJECTS[server]) == free
        self.generation += free

    @rule(server=servers)
    def retry(self, server: str) -> None:
        failed = self.row.state == State.FAILED and self.row.instance_uuid == server
        assert intent.retry(self.db, self.id, server) == failed
        self.generation += failed

    @rule(server=servers)
    def give_up(self, server: str) -> None:
        has = self.row.state in states.CLAIMED and self.row.instance_uuid == server
        assert intent.release(self.db, self.id, server) == has
        self.generation += has

    @rule(
        age=st.sampled_from([0, 0, 0, 1, 2, -1]),
        state=st.sampled_from(list(State)),
        host=st.sampled_from([HOST, HOST, HOST, "liar"]),
    )
    def report(self, age: int, state: State, host: str) -> None:
        """An answer: early, late, doubled, senseless, or of an agent that it does not concern."""
        before = self.row
        outcome = ClaimStatus(self.id, before.generation - age, state, "because", BECAUSE)
        queries.record_statuses(self.db, host, [outcome])
        fits = (before.state in states.CLAIMED and state in ANSWERS) or (
            before.state == State.DETACHING and state in (State.AVAILABLE, State.DETACHING)
        )
        if age != 0 or host != HOST or not fits:
            assert _values(self.row) == _values(before)
        elif state == State.AVAILABLE:
            assert self.row.instance_uuid is None
        else:
            assert (self.row.state, states.reason(self.row)) == (state, _because(state))
            assert self.row.instance_uuid == before.instance_uuid

    @precondition(lambda self: self.now.state in states.CLAIMED)
    @rule(state=st.sampled_from(ANSWERS))
    def answer(self, state: State) -> None:
        """What usually happens: the agent answers the claim, and says it twice."""
        for _ in range(2):
            queries.record_statuses(self.db, HOST, [ClaimStatus(self.id, self.row.generation, state)])
            assert self.row.state == state

    @precondition(lambda self: self.now.state == State.DETACHING)
    @rule()
    def let_go(self) -> None:
        for _ in range(2):
            queries.record_statuses(
                self.db, HOST, [ClaimStatus(self.id, self.row.generation, State.AVAILABLE)]
            )
            assert self.row.state in (State.AVAILABLE, State.UNAVAILABLE)

    @invariant()
    def what_always_holds(self) -> None:
        row = self.now = self.row
        # Every change of intent is counted, and nothing else is.
        assert row.generation == self.generation
        # A claim names its server and that server's project.
        assert (row.instance_uuid is not None) == (row.state in (*states.CLAIMED, State.DETACHING))
        assert row.project_id == (PROJECTS[row.instance_uuid] if row.instance_uuid else None)
        # What nobody has can be had, or says why not.
        if row.instance_uuid is None:
            usable = row.present and row.enabled and row.blocked_reason is None
            assert (row.state == State.AVAILABLE) == usable
            assert (row.state_reason is None) == usable
        # The agent is told what is meant.
        claim = states.claim_of(row)
        assert claim.generation == row.generation
        assert claim.server_id == (None if row.state == State.DETACHING else row.instance_uuid)
        assert claim.ending == (row.state == State.DETACHING)


def _because(state: State) -> Reason | None:
    return None if state == State.ATTACHED else Reason(BECAUSE, "because")


def _values(row: models.Device) -> dict[str, Any]:
    return {column.name: getattr(row, column.name) for column in models.Device.__table__.columns}


OneDevice.TestCase.settings = settings(max_examples=20, stateful_step_count=25)
TestOneDevice = OneDevice.TestCase


@pytest.mark.parametrize("age", [-1, 0, 1])
@pytest.mark.parametrize("said", list(State))
@pytest.mark.parametrize("state", list(State))
def test_what_counts_as_an_answer(state: State, said: State, age: int) -> None:
    claimed = state not in (State.AVAILABLE, State.UNAVAILABLE)
    row = models.Device(
        host=HOST,
        state=state,
        generation=5,
        present=True,
        enabled=True,
        instance_uuid=SERVERS[0] if claimed else None,
    )
    counts = states.apply_status(row, ClaimStatus("id", 5 - age, said, "because", BECAUSE))
    if age == 0 and state == State.DETACHING and said == State.AVAILABLE:
        assert counts
        assert (row.state, row.instance_uuid, row.state_reason) == (State.AVAILABLE, None, None)
    elif age == 0 and state == State.DETACHING and said == State.DETACHING:
        assert counts
        assert (row.state, row.instance_uuid, row.state_reason) == (State.DETACHING, SERVERS[0], "because")
    elif age == 0 and state in states.CLAIMED and said in ANSWERS:
        assert counts
        assert (row.state, row.instance_uuid, states.reason(row)) == (said, SERVERS[0], _because(said))
        assert row.state_reason == (None if said == State.ATTACHED else "because")
    else:
        assert not counts
        assert (row.state, row.state_reason) == (state, None)


def test_an_agent_of_another_host_sees_and_changes_nothing() -> None:
    db = empty_database()
    queries.sync_host(db, HOST, "QEMU", "1.0", [STICK])
    row = queries.devices(db)[0]
    intent.claim(db, row.id, SERVERS[0], "demo")
    assert queries.sync_host(db, "compute2", "QEMU", "1.0", []) == []
    queries.record_statuses(db, "compute2", [ClaimStatus(row.id, 1, State.FAILED, "I say so")])
    after = queries.device(db, row.id)
    assert after is not None
    assert (after.state, after.present, after.host) == (State.ATTACHING, True, HOST)


def test_a_device_that_changes_its_serial_all_the_time_does_not_fill_the_database() -> None:
    db = empty_database()
    queries.sync_host(db, HOST, "QEMU", "1.0", [STICK])
    kept = queries.devices(db)[0].id
    intent.claim(db, kept, SERVERS[0], "demo")
    for batch in range(4):
        devices = [
            Device(**{**vars(STICK), "identity": f"0781:5567:{batch}-{number}"}) for number in range(250)
        ]
        claims = queries.sync_host(db, HOST, "QEMU", "1.0", devices)
        assert len(claims) <= 512
        assert {device.identity for device in devices} <= {claim.identity for claim in claims}
    assert queries.device(db, kept) is not None


def test_a_claim_that_changed_meanwhile_is_not_overruled() -> None:
    db = empty_database()
    queries.sync_host(db, HOST, "QEMU", "1.0", [STICK])
    device_id = queries.devices(db)[0].id
    intent.claim(db, device_id, SERVERS[0], "demo")
    queries.record_statuses(
        db, HOST, [ClaimStatus(device_id, 1, State.WAITING, reason_code=ReasonCode.SERVER_OFF)]
    )
    doubted = queries.devices(db)[0]
    queries.record_statuses(db, HOST, [ClaimStatus(device_id, 1, State.ATTACHED)])
    intent.wait_for_server(db, doubted, ReasonCode.SERVER_ON_OTHER_HOST)
    assert queries.devices(db)[0].state == State.ATTACHED


def used(**changes: Any) -> tuple[Database, models.Device]:
    """A stick that is wiped between two projects, and that a server has given back."""
    db = empty_database()
    stick = dataclasses.replace(STICK, handover="wipe", shared=True, plug_id="boot/2.3/1", **changes)
    queries.sync_host(db, HOST, "QEMU", "1.3", [stick])
    [row] = queries.devices(db)
    assert intent.claim(db, row.id, SERVERS[0], "p")
    queries.record_statuses(db, HOST, [ClaimStatus(row.id, 1, State.ATTACHED)])
    assert intent.release(db, row.id, SERVERS[0])
    queries.record_statuses(db, HOST, [ClaimStatus(row.id, 2, State.AVAILABLE)])
    return db, queries.devices(db)[0]


def replugged(db: Database, **changes: Any) -> models.Device:
    changes = {"plug_id": "boot/2.4/9", "handover": "wipe", **changes}
    stick = dataclasses.replace(STICK, shared=True, **changes)
    queries.sync_host(db, HOST, "QEMU", "1.3", [])
    queries.sync_host(db, HOST, "QEMU", "1.3", [stick])
    return next(row for row in queries.devices(db) if row.present)


def test_a_stick_is_wiped_also_when_it_comes_back() -> None:
    db, row = used(serial="A")
    assert (states.reason(row), states.claim_of(row).wiped) == (_wiping(0), 0)
    row = replugged(db, serial="A")
    assert (row.reason_code, states.claim_of(row).wiped) == (ReasonCode.WIPING, 0)


def test_a_wipe_goes_on_until_the_stick_is_plugged_in_anew() -> None:
    """Also while the agent is in doubt which stick it is."""
    db, row = used(serial="A")
    wiping = ClaimStatus(row.id, row.generation, State.UNAVAILABLE, None, ReasonCode.WIPING, wiped=40)
    queries.record_statuses(db, HOST, [wiping])
    assert [replugged(db, serial="A", plug_id=plug_id).wiped for plug_id in ("boot/2.3/1", None)] == [40, 40]
    assert replugged(db, serial="A", plug_id="boot/2.3/2").wiped is None


def test_a_stick_that_may_be_another_is_not_wiped() -> None:
    """Nothing but its socket says that it is the same."""
    db, row = used(serial="", socket="s", identity="46f4:0001@s")
    assert states.claim_of(row).wiped == 0
    row = replugged(db, serial="", socket="s", identity="46f4:0001@s", device_id=row.id)
    assert (row.state, row.reason_code) == (State.UNAVAILABLE, ReasonCode.WIPE_FAILED)
    assert states.claim_of(row).wiped is None
    assert handover.release(db, row.id) is not None
    assert queries.devices(db)[0].state == State.AVAILABLE


def test_a_stick_that_has_a_twin_is_not_wiped_when_it_comes_back() -> None:
    """Its serial number does not say that it is the same."""
    db, row = used(serial="A", socket="s", identity="46f4:0001@s:A", serial_shared=True)
    assert states.claim_of(row).wiped == 0
    row = replugged(db, serial="A", socket="s", serial_shared=True, device_id=row.id)
    assert (row.reason_code, states.claim_of(row).wiped) == (ReasonCode.WIPE_FAILED, None)


def _wiping(percent: int) -> Reason:
    return Reason(ReasonCode.WIPING, f"{describe(ReasonCode.WIPING)}: {percent} %")


@pytest.mark.parametrize(
    ("told", "reason", "wiped"),
    [
        ({"reason_code": "wiping", "wiped": 40}, _wiping(40), 40),
        ({"reason_code": "wiping", "wiped": 1000}, _wiping(100), 100),
        ({"reason_code": "wiping", "wiped": None}, _wiping(0), 0),
        (
            {"reason_code": "wipe_failed", "reason": "not wiped: I/O error", "wiped": 7},
            Reason(ReasonCode.WIPE_FAILED, "not wiped: I/O error"),
            7,
        ),
        ({"reason_code": "wiped"}, None, None),
    ],
    ids=["on its way", "more than all", "an agent that does not tell how far", "failed", "done"],
)
def test_what_an_agent_tells_of_a_wipe(
    told: dict[str, Any], reason: Reason | None, wiped: int | None
) -> None:
    db, row = used(serial="A")
    queries.record_statuses(db, HOST, [ClaimStatus(row.id, row.generation, State.UNAVAILABLE, **told)])
    [row] = queries.devices(db)
    assert (states.reason(row), states.claim_of(row).wiped) == (reason, wiped)
    assert row.state == (State.AVAILABLE if reason is None else State.UNAVAILABLE)


def test_a_wipe_that_goes_on_has_not_failed() -> None:
    db, row = used(serial="A")
    for code, reason in (("wipe_failed", None), ("wiping", None)):
        outcome = ClaimStatus(row.id, row.generation, State.UNAVAILABLE, reason, code, wiped=50)
        queries.record_statuses(db, HOST, [outcome])
        assert queries.devices(db)[0].reason_code == code


@pytest.mark.parametrize(
    ("age", "code"), [(1, ReasonCode.WIPED), (0, ReasonCode.RESET), (0, None)], ids=["late", "reset", "free"]
)
def test_what_ends_no_wipe(age: int, code: ReasonCode | None) -> None:
    db, row = used(serial="A")
    for outcome in (
        ClaimStatus(row.id, row.generation, State.UNAVAILABLE, None, ReasonCode.WIPING, wiped=40),
        ClaimStatus(row.id, row.generation - age, State.AVAILABLE, None, code),
    ):
        queries.record_statuses(db, HOST, [outcome])
    [row] = queries.devices(db)
    assert (states.reason(row), row.last_project_id) == (_wiping(40), "p")


@pytest.mark.parametrize("rule", ["hold", "none"])
def test_only_what_is_to_be_wiped_is_wiped(rule: str) -> None:
    """Whatever an agent says; a device that is held stays so."""
    db, row = used(serial="A")
    row = replugged(db, serial="A", plug_id="boot/2.3/1", handover=rule)
    assert states.claim_of(row).wiped is None
    outcome = ClaimStatus(row.id, row.generation, State.AVAILABLE, None, ReasonCode.WIPED)
    queries.record_statuses(db, HOST, [outcome])
    assert queries.devices(db)[0].last_project_id == "p"


def test_a_wipe_begins_anew_after_the_next_project() -> None:
    """Though the rule asked for none in the meantime, while half was done."""
    db, row = used(serial="A")
    half = ClaimStatus(row.id, row.generation, State.UNAVAILABLE, None, ReasonCode.WIPING, wiped=50)
    queries.record_statuses(db, HOST, [half])
    row = replugged(db, serial="A", plug_id="boot/2.3/1", handover="none")
    assert intent.claim(db, row.id, SERVERS[1], "q")
    queries.record_statuses(db, HOST, [ClaimStatus(row.id, 3, State.ATTACHED)])
    row = replugged(db, serial="A", plug_id="boot/2.3/1", handover="wipe")
    assert states.claim_of(row).wiped is None, "a server has it"
    assert intent.release(db, row.id, SERVERS[1])
    queries.record_statuses(db, HOST, [ClaimStatus(row.id, 4, State.AVAILABLE)])
    [row] = queries.devices(db)
    assert (states.claim_of(row).wiped, row.last_project_id) == (0, "q")


def test_another_device_in_the_socket_of_a_claim_is_not_wiped() -> None:
    db, row = used(serial="A", socket="s", follow="socket")
    stick = dataclasses.replace(STICK, handover="wipe", shared=True, plug_id="boot/2.4/9")
    other = dataclasses.replace(stick, serial="B", socket="s", follow="socket", device_id=row.id)
    queries.sync_host(db, HOST, "QEMU", "1.3", [other])
    [after] = [it for it in queries.devices(db) if it.present]
    assert (after.id, after.serial) == (row.id, "B")
    assert (after.state, states.claim_of(after).wiped) == (State.AVAILABLE, None)


# As rows are after programs of RPC 1.0 and of this version have written them, one after the other.
CLAIM: dict[str, Any] = {"instance_uuid": SERVERS[0], "state": State.WAITING}
FREE: dict[str, Any] = {"instance_uuid": None, "state": State.UNAVAILABLE}
QEMU_SAYS = "QEMU says no"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        # The text of an older program is newer than the code.
        ({**CLAIM, "reason_code": "server_off", "state_reason": "unplugged"}, Reason(ReasonCode.UNPLUGGED)),
        (
            {**CLAIM, "reason_code": "server_off", "state_reason": "the server is on another host"},
            Reason(ReasonCode.DOMAIN_ABSENT),
        ),
        ({**CLAIM, "reason_code": None, "state_reason": "the server is off"}, Reason(ReasonCode.SERVER_OFF)),
        (
            {**CLAIM, "state": State.FAILED, "reason_code": None, "state_reason": QEMU_SAYS},
            Reason(ReasonCode.HYPERVISOR_ERROR, QEMU_SAYS),
        ),
        (
            {
                **CLAIM,
                "state": State.FAILED,
                "reason_code": None,
                "state_reason": "the device went away: 1-4",
            },
            Reason(ReasonCode.DEVICE_GONE, "the device went away: 1-4"),
        ),
        # Where a server is does not make a claim fail: the code is one of before.
        (
            {**CLAIM, "state": State.FAILED, "reason_code": "server_off", "state_reason": QEMU_SAYS},
            Reason(ReasonCode.HYPERVISOR_ERROR, QEMU_SAYS),
        ),
        # Of this version.
        (
            {**CLAIM, "reason_code": "server_off", "state_reason": describe(ReasonCode.SERVER_OFF)},
            Reason(ReasonCode.SERVER_OFF),
        ),
        (
            {**CLAIM, "reason_code": "port_occupied", "state_reason": "another device is in port 1-4"},
            Reason(ReasonCode.PORT_OCCUPIED, "another device is in port 1-4"),
        ),
        (
            {**CLAIM, "reason_code": "server_off", "state_reason": "it was shut down at noon"},
            Reason(ReasonCode.SERVER_OFF, "it was shut down at noon"),
        ),
        (
            {**CLAIM, "state": State.FAILED, "reason_code": "device_gone", "state_reason": "it went away"},
            Reason(ReasonCode.DEVICE_GONE, "it went away"),
        ),
        (
            {**CLAIM, "reason_code": "of_a_later_agent", "state_reason": "wait"},
            Reason("of_a_later_agent", "wait"),
        ),
        ({**CLAIM, "reason_code": None, "state_reason": None}, None),
        # A state that needs no reason.
        ({**CLAIM, "state": State.ATTACHED, "reason_code": "server_off", "state_reason": "x"}, None),
        ({**FREE, "state": State.AVAILABLE, "reason_code": "unplugged", "state_reason": "unplugged"}, None),
        # Of a device that nobody has: whatever was stored, how it is decides.
        ({**FREE, "present": False, "enabled": False}, Reason(ReasonCode.UNPLUGGED)),
        ({**FREE, "enabled": False, "state_reason": "unplugged"}, Reason(ReasonCode.DISABLED)),
        (
            {**FREE, "blocked_code": "host_mount", "blocked_reason": "used by the host: mounted at /srv"},
            Reason(ReasonCode.HOST_MOUNT, "used by the host: mounted at /srv"),
        ),
        (
            {**FREE, "blocked_code": None, "blocked_reason": "used by the host: swap space"},
            Reason(ReasonCode.HOST_SWAP, "used by the host: swap space"),
        ),
        (
            {**FREE, "blocked_code": None, "blocked_reason": "something"},
            Reason(ReasonCode.HOST_USE, "something"),
        ),
        (
            {**FREE, "blocked_code": "not_offered", "blocked_reason": "not allowed by device_spec"},
            Reason(ReasonCode.NOT_OFFERED),
        ),
    ],
    ids=lambda it: " ".join(f"{key}={value}" for key, value in it.items()) if isinstance(it, dict) else "",
)
def test_why_a_device_is_in_its_state(values: dict[str, Any], reason: Reason | None) -> None:
    row = models.Device(**{"present": True, "enabled": True, **values})
    assert states.reason(row) == reason


def test_a_claim_without_a_reason_is_sent_without_one() -> None:
    db = empty_database()
    queries.sync_host(db, HOST, "QEMU", "1.0", [STICK])
    [row] = queries.devices(db)
    claim = states.claim_of(row)
    assert (claim.state, claim.reason, claim.reason_code) == (State.AVAILABLE, None, None)


def test_an_outcome_without_a_code_has_no_reason() -> None:
    db = empty_database()
    queries.sync_host(db, HOST, "QEMU", "1.0", [STICK])
    [row] = queries.devices(db)
    intent.claim(db, row.id, SERVERS[0], "demo")
    queries.record_statuses(db, HOST, [ClaimStatus(row.id, 1, State.WAITING)])
    assert states.reason(queries.devices(db)[0]) is None


def test_what_an_agent_is_told_of_a_claim_that_ends() -> None:
    db = empty_database()
    queries.sync_host(db, HOST, "QEMU", "1.0", [STICK])
    [row] = queries.devices(db)
    intent.claim(db, row.id, SERVERS[0], "demo")
    why = Reason(ReasonCode.HYPERVISOR_ERROR, "QEMU says no")
    queries.record_statuses(db, HOST, [ClaimStatus(row.id, 1, State.FAILED, why.details, why.code)])
    claim = states.claim_of(queries.devices(db)[0])
    assert (claim.server_id, claim.reason, claim.reason_code) == (SERVERS[0], why.details, why.code)
    intent.release(db, row.id, SERVERS[0])
    claim = states.claim_of(queries.devices(db)[0])
    assert (claim.server_id, claim.state, claim.reason) == (None, State.DETACHING, None)


def test_since_when_a_device_is_in_its_state() -> None:
    """To be told the same again is no change; another reason is."""
    db = empty_database()
    queries.sync_host(db, HOST, "QEMU", "1.0", [STICK])
    [row] = queries.devices(db)
    intent.claim(db, row.id, SERVERS[0], "demo")
    with clock() as time:
        moments = []
        for state, text, code in (
            (State.WAITING, None, ReasonCode.SERVER_OFF),
            (State.WAITING, "", ReasonCode.SERVER_OFF),
            (State.WAITING, None, ReasonCode.SERVER_BUSY),
            (State.ATTACHED, None, None),
            (State.ATTACHED, "", None),
        ):
            time.jump(1)
            queries.record_statuses(db, HOST, [ClaimStatus(row.id, 1, state, text, code)])
            moments.append(queries.devices(db)[0].state_since)
        begin = time.now - datetime.timedelta(seconds=5)
        assert [(moment - begin).seconds for moment in moments if moment] == [1, 1, 3, 4, 4]
