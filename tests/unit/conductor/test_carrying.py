# SPDX-License-Identifier: Apache-2.0
"""A device that is used over the network follows its server, when Nova confirms where that is."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from compute_shim.conductor import carrying, woken
from compute_shim.conductor.backoff import BackOff
from compute_shim.conductor.carrying import Carrying
from compute_shim.objects import ReasonCode, State
from tests.unit.conductor.cloud import Nudger
from tests.unit.db.hosts import HERE, SERVER, THERE, THIRD, Hosts, moved
from tests.unit.db.test_absence import window


class Conductor:
    """One that asks Nova, and a clock that goes as it is told."""

    def __init__(self, hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hosts = hosts
        self.nudger = Nudger()
        self.clock = 0.0
        # What Nova says, and what it was asked.
        self.confirmed = True
        self.asked: list[tuple[str, str]] = []
        monkeypatch.setattr(carrying, "BackOff", functools.partial(BackOff, clock=lambda: self.clock))
        self.carrying = Carrying(hosts.db, self.nudger, window, self._is_on)

    def _is_on(self, server_id: str, host: str) -> bool:
        self.asked.append((server_id, host))
        return self.confirmed

    def look(self, seconds: float = 0) -> None:
        """A pass, some time after the last one."""
        self.clock += seconds
        self.carrying.follow()

    @property
    def nudged(self) -> list[str]:
        return [device_id for device_id, _ in self.nudger.nudged]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Callable[[Hosts], Conductor]:
    return lambda hosts: Conductor(hosts, monkeypatch)


def test_nova_is_asked_and_both_agents_are_told(start: Callable[[Hosts], Conductor]) -> None:
    hosts = moved()
    conductor = start(hosts)
    conductor.look()
    assert conductor.asked == [(SERVER, THIRD)]
    assert hosts.where() == THIRD
    assert conductor.nudged == [hosts.row().id]
    conductor.look()
    assert (len(conductor.asked), len(conductor.nudged)) == (1, 1)


def test_without_novas_word_nothing_changes(start: Callable[[Hosts], Conductor]) -> None:
    """It is asked less and less often."""
    hosts = moved()
    conductor = start(hosts)
    conductor.confirmed = False
    asked = []
    for seconds in (0, 4, 1, 9, 1):
        conductor.look(seconds)
        asked.append(len(conductor.asked))
    assert asked == [1, 1, 2, 2, 3]
    assert (hosts.where(), hosts.row().generation, conductor.nudged) == (THERE, 1, [])


def test_what_nova_does_not_confirm_is_in_the_way_of_no_other(start: Callable[[Hosts], Conductor]) -> None:
    hosts = moved("A", "B")
    conductor = start(hosts)
    conductor.confirmed = False
    conductor.look()
    assert len(conductor.asked) == 2
    # A claim that has changed is asked about at once.
    hosts.tell(THERE, State.FAILED, ReasonCode.CHANNEL_FAILED, serial="B")
    hosts.retry("B")
    conductor.confirmed = True
    conductor.look()
    assert (hosts.where("A"), hosts.where("B")) == (THERE, THIRD)


def test_a_server_that_comes_back_and_moves_again_is_news(start: Callable[[Hosts], Conductor]) -> None:
    hosts = moved()
    conductor = start(hosts)
    conductor.confirmed = False
    conductor.look()
    hosts.sync(THIRD)
    hosts.sync(THERE, SERVER)
    conductor.look()
    hosts.sync(THERE)
    hosts.sync(THIRD, SERVER)
    conductor.confirmed = True
    conductor.look()
    assert hosts.where() == THIRD


def test_a_server_where_it_cannot_have_its_device(start: Callable[[Hosts], Conductor]) -> None:
    """That is said once, and Nova is not asked; when the host takes part, that is news."""
    hosts = moved()
    hosts.addresses[THIRD] = None
    hosts.sync(THIRD, SERVER)
    conductor = start(hosts)
    conductor.look()
    assert hosts.state() == (State.WAITING, ReasonCode.NO_NETWORK_TRANSPORT)
    assert (hosts.where(), conductor.asked, conductor.nudged) == (THERE, [], [])
    hosts.tell(THERE, State.WAITING, ReasonCode.DOMAIN_ABSENT)
    conductor.look(4)
    assert hosts.state() == (State.WAITING, ReasonCode.DOMAIN_ABSENT)
    conductor.look(1)
    assert hosts.state() == (State.WAITING, ReasonCode.NO_NETWORK_TRANSPORT)
    hosts.addresses[THIRD] = "compute3.example"
    hosts.sync(THIRD, SERVER)
    conductor.look()
    assert hosts.where() == THIRD


def test_a_claim_that_changes_while_nova_is_asked_is_left_alone(start: Callable[[Hosts], Conductor]) -> None:
    hosts = moved()
    conductor = start(hosts)

    def is_on(server_id: str, host: str) -> bool:
        hosts.tell(THERE, State.FAILED, ReasonCode.CHANNEL_FAILED)
        hosts.retry()
        return True

    conductor.carrying = Carrying(hosts.db, conductor.nudger, window, is_on)
    conductor.look()
    assert (hosts.where(), conductor.nudged) == (THERE, [])


def test_one_of_a_kind_is_left_to_others(start: Callable[[Hosts], Conductor]) -> None:
    hosts = moved(kind="dongle")
    conductor = start(hosts)
    conductor.look()
    assert (hosts.where(), conductor.asked) == (THERE, [])


def test_home_again(start: Callable[[Hosts], Conductor]) -> None:
    hosts = Hosts()
    hosts.attach()
    hosts.sync(THERE)
    hosts.sync(HERE, SERVER)
    conductor = start(hosts)
    conductor.look()
    assert (conductor.asked, hosts.where()) == ([(SERVER, HERE)], None)


def test_it_looks_when_it_is_woken(
    start: Callable[[Hosts], Conductor], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []
    monkeypatch.setattr(woken, "run", lambda *given: found.extend(given))
    conductor = start(moved())
    conductor.carrying.run()
    news, work, interval, what = found
    assert isinstance(news, threading.Event)
    assert (work, interval) == (conductor.carrying.follow, 5)
    assert what == "look for servers that use devices over the network"
    assert not news.is_set()
    conductor.carrying.wake()
    assert news.is_set()
