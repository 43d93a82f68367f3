# SPDX-License-Identifier: Apache-2.0
"""What an agent tells reaches the database, whatever the message bus and the conductors do to it."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterable, Iterator

import oslo_messaging
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compute_shim.agent import reporter as reporter_module
from compute_shim.agent.reporter import Reporter
from compute_shim.db import history, intent, models, queries
from compute_shim.objects import Claim, ClaimStatus, Device, ReasonCode, State
from tests.unit.agent.test_agent import until
from tests.unit.db.test_states import ANSWERS, HOST, SERVERS, STICK, empty_database

# What becomes of a report. One that is late may still be carried out when the agent has given it up.
FATES = ("arrives", "arrives twice", "is lost", "is late", "the answer is lost")


class Bus:
    """Between the reporter and the database; the first of its reports meet the fates that it is given."""

    def __init__(self, fates: Iterable[str]) -> None:
        self.db = empty_database()
        # A database in memory has one connection.
        self.lock = threading.Lock()
        #: Whether a sync waits for the lock.
        self.is_asked = False
        self.syncs = 0
        self.reports = 0
        #: Whether the device was known to be plugged in, for each report.
        self.reported_of: list[list[bool]] = []
        self.late: list[list[ClaimStatus]] = []
        self._fates = iter(fates)

    def sync(
        self,
        hypervisor: str,
        devices: Iterable[Device],
        problems: Iterable[str],
        servers: object,
        *,
        identified: bool,
    ) -> list[Claim]:
        self.is_asked = True
        with self.lock:
            self.is_asked = False
            claims = queries.sync_host(self.db, HOST, hypervisor, "1.1", devices, problems)
        self.syncs += 1
        return claims

    def report(self, outcomes: Iterable[ClaimStatus], request_id: str | None) -> None:
        outcomes = list(outcomes)
        fate = next(self._fates, "arrives")
        with self.lock:
            self.reported_of.append([row.present for row in queries.devices(self.db)])
            self.reports += 1
            if fate == "is late":
                self.late.append(outcomes)
            elif fate != "is lost":
                for _ in range(2 if fate == "arrives twice" else 1):
                    queries.record_statuses(self.db, HOST, outcomes)
        if fate in ("is late", "is lost", "the answer is lost"):
            raise oslo_messaging.MessagingTimeout("no answer")

    def row(self) -> models.Device:
        with self.lock:
            [row] = queries.devices(self.db)
            return row

    def claim(self) -> None:
        """A server takes the only device."""
        with self.lock:
            assert intent.claim(self.db, queries.devices(self.db)[0].id, SERVERS[0], "demo")

    def located(self, code: ReasonCode) -> None:
        """The conductor says where the server is."""
        with self.lock:
            intent.wait_for_server(self.db, queries.devices(self.db)[0], code)

    def says(self, outcome: ClaimStatus) -> bool:
        """Whether the database says what became of the claim; of one that is attached it has no reason."""
        code = None if outcome.state == State.ATTACHED else outcome.reason_code
        row = self.row()
        return (row.state, row.reason_code) == (outcome.state, code)

    def causes(self) -> list[str | None]:
        """What caused the changes of the device's state, the first one first."""
        with self.lock:
            [row] = queries.devices(self.db)
            return [event.cause_code for event in reversed(history.page(self.db, history.Filter(row.id)))]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter_module, "_RETRY_SECONDS", 0.005)


@contextlib.contextmanager
def reporting(bus: Bus, claimed: bool = True) -> Iterator[Reporter]:
    """A reporter of a host with one device, which a server has taken."""
    reporter = Reporter(bus, 0.01)  # type: ignore[arg-type]
    thread = threading.Thread(target=reporter.run, args=(lambda claims: None,))
    thread.start()
    try:
        reporter.devices("QEMU", [STICK], [], identified=True)
        until(lambda: bus.syncs > 0)
        if claimed:
            bus.claim()
        yield reporter
    finally:
        reporter.stop()
        thread.join(20)
        assert not thread.is_alive()


CODES = (
    ReasonCode.UNPLUGGED,
    ReasonCode.SERVER_OFF,
    ReasonCode.DEVICE_GONE,
    ReasonCode.NO_FREE_USB_PORT,
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(ANSWERS), st.sampled_from(FATES)), min_size=1, max_size=len(CODES)),
    # Not st.randoms: how many are late depends on the time, and hypothesis wants the same draws each time.
    st.integers(min_value=0),
)
def test_in_the_end_the_database_says_what_the_agent_said_last(
    quick: None, said: list[tuple[State, str]], seed: int
) -> None:
    bus = Bus(fate for _, fate in said)
    with reporting(bus) as reporter:
        device_id = bus.row().id
        for (state, _), code in zip(said, CODES, strict=False):
            last = ClaimStatus(device_id, 1, state, code, None if state == State.ATTACHED else code)
            before = bus.reports
            reporter.outcomes([last], {})
            # What the database says already need not be told.
            until(lambda before=before, last=last: bus.reports > before or bus.says(last))
        until(lambda: bus.says(last))
        random.Random(seed).shuffle(bus.late)
        for outcomes in bus.late:
            with bus.lock:
                queries.record_statuses(bus.db, HOST, outcomes)
        until(lambda: bus.says(last))


def absent(bus: Bus, code: ReasonCode) -> ClaimStatus:
    """What an agent says of a server that does not run on its host."""
    return ClaimStatus(bus.row().id, 1, State.WAITING, reason_code=code)


def until_synced(bus: Bus, times: int = 5) -> None:
    before = bus.syncs
    until(lambda: bus.syncs >= before + times)


ABSENT = (ReasonCode.SERVER_OFF, ReasonCode.DOMAIN_ABSENT)
LOCATED = (ReasonCode.SERVER_ON_OTHER_HOST, ReasonCode.KIND_NOT_FREE, ReasonCode.SERVER_SHELVED)


@pytest.mark.parametrize("code", ABSENT)
@pytest.mark.parametrize("located", LOCATED)
def test_what_the_conductor_found_out_since_is_not_told_otherwise_again(
    quick: None, code: ReasonCode, located: ReasonCode
) -> None:
    bus = Bus([])
    with reporting(bus) as reporter:
        reporter.outcomes([absent(bus, code)], {})
        until(lambda: bus.says(absent(bus, code)))
        bus.located(located)
        told = bus.reports
        until_synced(bus)
        # Its domain comes or goes, and the server is still elsewhere.
        for other in ABSENT:
            reporter.outcomes([absent(bus, other)], {})
            until_synced(bus)
        assert (bus.row().reason_code, bus.reports) == (located, told)


@pytest.mark.parametrize("located", LOCATED)
def test_an_agent_that_starts_anew_does_not_overwrite_what_the_conductor_found_out(
    quick: None, located: ReasonCode
) -> None:
    bus = Bus([])
    with reporting(bus) as reporter:
        reporter.outcomes([absent(bus, ReasonCode.DOMAIN_ABSENT)], {})
        until(lambda: bus.says(absent(bus, ReasonCode.DOMAIN_ABSENT)))
    bus.located(located)
    told, before = bus.reports, bus.causes()
    with reporting(bus, claimed=False) as reporter:
        until_synced(bus)
        reporter.outcomes([absent(bus, ReasonCode.DOMAIN_ABSENT)], {})
        until_synced(bus)
    assert (bus.row().reason_code, bus.reports, bus.causes()) == (located, told, before)


def test_a_conductor_that_was_away_does_not_lose_what_it_found_out(quick: None) -> None:
    """After a call that failed the agent tells everything again that the database may not know."""
    bus = Bus(["arrives", "the answer is lost"])
    with reporting(bus) as reporter:
        reporter.outcomes([absent(bus, ReasonCode.DOMAIN_ABSENT)], {})
        until(lambda: bus.says(absent(bus, ReasonCode.DOMAIN_ABSENT)))
        bus.located(ReasonCode.SERVER_SHELVED)
        until_synced(bus)
        unknown = ClaimStatus("another device", 1, State.ATTACHED)
        reporter.outcomes([absent(bus, ReasonCode.DOMAIN_ABSENT), unknown], {})
        until(lambda: bus.reports >= 3)
        until_synced(bus)
        assert bus.row().reason_code == ReasonCode.SERVER_SHELVED


def test_a_server_that_is_on_the_host_again_is_told_after_all(quick: None) -> None:
    bus = Bus([])
    with reporting(bus) as reporter:
        reporter.outcomes([absent(bus, ReasonCode.DOMAIN_ABSENT)], {})
        until(lambda: bus.says(absent(bus, ReasonCode.DOMAIN_ABSENT)))
        bus.located(ReasonCode.SERVER_ON_OTHER_HOST)
        until_synced(bus)
        attached = ClaimStatus(bus.row().id, 1, State.ATTACHED)
        for status in (attached, absent(bus, ReasonCode.SERVER_OFF), absent(bus, ReasonCode.DOMAIN_ABSENT)):
            reporter.outcomes([status], {})
            until(lambda status=status: bus.says(status))


def test_the_history_says_stopped_and_started_and_not_moved(quick: None) -> None:
    """Nova defines a domain anew when it starts its server: for a moment the host has none."""
    bus = Bus([])
    with reporting(bus) as reporter:
        attached = ClaimStatus(bus.row().id, 1, State.ATTACHED)
        for status in (
            attached,
            absent(bus, ReasonCode.SERVER_OFF),
            absent(bus, ReasonCode.DOMAIN_ABSENT),
            attached,
        ):
            reporter.outcomes([status], {})
            until(lambda status=status: bus.says(status))
    assert bus.causes() == [
        ReasonCode.PLUGGED_IN,
        ReasonCode.REQUESTED,
        ReasonCode.REQUESTED,
        ReasonCode.SERVER_STOPPED,
        ReasonCode.SERVER_STOPPED,
        ReasonCode.SERVER_STARTED,
    ]


def test_a_device_is_told_before_it_is_told_to_be_attached(quick: None) -> None:
    """Also when it was plugged in while the conductor was slow to answer a sync without it."""
    bus = Bus(())
    with reporting(bus) as reporter:
        reporter.devices("QEMU", [], [], identified=True)
        until(lambda: not bus.row().present)
        with bus.lock:
            until(lambda: bus.is_asked)
            reporter.devices("QEMU", [STICK], [], identified=True)
            [row] = queries.devices(bus.db)
            reporter.outcomes([ClaimStatus(row.id, 1, State.ATTACHED)], {})
        until(lambda: bus.row().state == State.ATTACHED)
    assert bus.reported_of == [[True]]


def test_the_log_says_once_that_the_devices_are_known(quick: None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", reporter_module.__name__)
    bus = Bus([])
    reporter = Reporter(bus, 0.01)  # type: ignore[arg-type]
    thread = threading.Thread(target=reporter.run, args=(lambda claims: None,))
    thread.start()
    try:
        reporter.devices("QEMU", [STICK], [], identified=False)
        until_synced(bus)
        assert caplog.messages == []
        reporter.devices("QEMU", [STICK], [], identified=True)
        until_synced(bus)
        assert caplog.messages == ["The conductor knows the devices of this host: 1"]
    finally:
        reporter.stop()
        thread.join(20)
