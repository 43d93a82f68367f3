# SPDX-License-Identifier: Apache-2.0
"""What an agent tells reaches the database, whatever the message bus and the conductors do to it."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable

import oslo_messaging
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compute_shim.agent import courier as courier_module
from compute_shim.agent.courier import Courier
from compute_shim.db import models, queries
from compute_shim.objects import Claim, Device, Outcome, ReasonCode, State
from tests.unit.agent.test_agent import until
from tests.unit.db.test_states import ANSWERS, HOST, SERVERS, STICK, empty_database

# What becomes of a report. One that is late may still be carried out when the agent has given it up.
FATES = ("arrives", "arrives twice", "is lost", "is late", "the answer is lost")


class Bus:
    """Between the courier and the database; the first of its reports meet the fates that it is given."""

    def __init__(self, fates: Iterable[str]) -> None:
        self.db = empty_database()
        # A database in memory has one connection.
        self.lock = threading.Lock()
        self.reports = 0
        self.late: list[list[Outcome]] = []
        self._fates = iter(fates)

    def sync(self, hypervisor: str, devices: Iterable[Device], problems: Iterable[str]) -> list[Claim]:
        with self.lock:
            return queries.sync_host(self.db, HOST, hypervisor, "1.1", devices, problems)

    def report(self, outcomes: Iterable[Outcome]) -> None:
        outcomes = list(outcomes)
        fate = next(self._fates, "arrives")
        with self.lock:
            self.reports += 1
            if fate == "is late":
                self.late.append(outcomes)
            elif fate != "is lost":
                for _ in range(2 if fate == "arrives twice" else 1):
                    queries.judge_claims(self.db, HOST, outcomes)
        if fate in ("is late", "is lost", "the answer is lost"):
            raise oslo_messaging.MessagingTimeout("no answer")

    def known(self) -> bool:
        with self.lock:
            return bool(queries.devices(self.db))

    def row(self) -> models.Device:
        with self.lock:
            [row] = queries.devices(self.db)
            return row


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier_module, "_RETRY_SECONDS", 0.005)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(ANSWERS), st.sampled_from(FATES)), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
def test_in_the_end_the_database_says_what_the_agent_said_last(
    quick: None, said: list[tuple[State, str]], dice: random.Random
) -> None:
    bus = Bus(fate for _, fate in said)
    courier = Courier(bus, 0.01)  # type: ignore[arg-type]
    thread = threading.Thread(target=courier.run, args=(lambda claims: None,))
    thread.start()
    try:
        courier.devices("QEMU", [STICK], [])
        until(bus.known)
        row = bus.row()
        with bus.lock:
            queries.claim(bus.db, row.id, SERVERS[0], "demo")
        for number, (state, _) in enumerate(said):
            last = Outcome(row.id, 1, state, str(number))
            before = bus.reports
            courier.outcomes([last])
            until(lambda before=before: bus.reports > before)
        until(lambda: (bus.row().state, bus.row().reason_code) == (last.state, last.reason))
        dice.shuffle(bus.late)
        for outcomes in bus.late:
            with bus.lock:
                queries.judge_claims(bus.db, HOST, outcomes)
        until(lambda: (bus.row().state, bus.row().reason_code) == (last.state, last.reason))
    finally:
        courier.stop()
        thread.join(20)


def test_what_the_conductor_found_out_since_is_not_told_otherwise_again(quick: None) -> None:
    bus = Bus([])
    courier = Courier(bus, 0.01)  # type: ignore[arg-type]
    syncs: list[list[Claim]] = []
    thread = threading.Thread(target=courier.run, args=(syncs.append,))
    thread.start()
    try:
        courier.devices("QEMU", [STICK], [])
        until(bus.known)
        with bus.lock:
            queries.claim(bus.db, queries.devices(bus.db)[0].id, SERVERS[0], "demo")
        courier.outcomes([Outcome(bus.row().id, 1, State.WAITING, reason_code=ReasonCode.SERVER_OFF)])
        until(lambda: bus.row().reason_code == ReasonCode.SERVER_OFF)
        with bus.lock:
            queries.wait_for_server(bus.db, queries.devices(bus.db)[0], ReasonCode.SERVER_ON_OTHER_HOST)
        told, before = bus.reports, len(syncs)
        until(lambda: len(syncs) > before + 5)
        assert (bus.row().reason_code, bus.reports) == (ReasonCode.SERVER_ON_OTHER_HOST, told)
    finally:
        courier.stop()
        thread.join(20)
