# SPDX-License-Identifier: Apache-2.0
"""What of a host's devices is offered."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

import pytest

from compute_shim.agent import device_spec, inventory
from compute_shim.agent.discovery import Discovery
from compute_shim.objects import Device, Plugged, Reason, ReasonCode
from tests.unit.agent.model import claim

STICK = Plugged("x", "46f4", "0001", "", "", "SERIAL1", "08", "5000", "2-1", 2, 3, socket="s1", plug_id="b/1")
READER = Plugged("y", "08e6", "4433", "", "", "", "0b", "12", "1-6", 1, 4, socket="s6", plug_id="b/2")


class Host:
    """What is plugged into the host and what it uses."""

    def __init__(self) -> None:
        self.plugged = [STICK, READER]
        self.used: dict[str, Reason] = {}
        self.now = 100.0
        self.looks: list[list[str]] = []
        self.look_seconds = 0.05

    def scan(self) -> list[Plugged]:
        return self.plugged

    def read(self, port: str) -> Plugged | None:
        return next((item for item in self.plugged if item.port == port), None)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    it = Host()
    monkeypatch.setattr(inventory, "Inventory", lambda: it)
    return it


def discovery(host: Host, *rules: str) -> Discovery:
    def used(ports: Collection[str]) -> dict[str, Reason]:
        host.looks.append(list(ports))
        host.now += host.look_seconds
        return {port: reason for port, reason in host.used.items() if port in ports}

    return Discovery(device_spec.parse(rules), used, lambda: host.now)


def blocked(devices: list[Device]) -> dict[str, str | None]:
    return {device.port: device.blocked_code for device in devices}


def test_without_a_rule_nothing_is_seen(host: Host) -> None:
    assert discovery(host).scan([]) == []


def test_only_what_a_rule_allows_is_seen(host: Host) -> None:
    assert blocked(discovery(host, '{"vendor_id": "46f4"}').scan([])) == {"2-1": None}


def test_the_rule_that_offers_a_device_says_with_whom_it_is_shared(host: Host) -> None:
    rules = ('{"vendor_id": "46f4", "projects": ["p2", "p1", "p2"]}', '{"shared": true}')
    stick, reader = discovery(host, *rules).scan([])
    assert (stick.shared, stick.projects) == (False, ("p1", "p2"))
    assert (reader.shared, reader.projects) == (True, ())


def test_a_used_device_is_shared_all_the_same(host: Host) -> None:
    host.used["2-1"] = Reason(ReasonCode.HOST_MOUNT)
    [stick] = discovery(host, '{"vendor_id": "46f4", "shared": true}').scan([])
    assert (stick.blocked_code, stick.shared) == (ReasonCode.HOST_MOUNT, True)


def test_nobody_says_with_whom_a_device_is_shared_that_is_offered_no_longer(host: Host) -> None:
    one = discovery(host, '{"shared": true}')
    [stick, _] = one.scan([])
    one.use(device_spec.parse([]))
    known = claim(
        1, None, identity=stick.identity, socket=stick.socket, plug_id=stick.plug_id, serial=stick.serial
    )
    [told] = [item for item in one.scan([known]) if item.port == stick.port]
    assert (told.blocked_code, told.shared) == (ReasonCode.NOT_OFFERED, None)


def test_other_rules_count_from_the_next_scan_on(host: Host) -> None:
    one = discovery(host)
    assert one.scan([]) == []
    one.use(device_spec.parse(["{}"]))
    assert one.scan([]) != []


def test_a_known_device_that_is_no_longer_allowed_is_told_as_such(host: Host) -> None:
    """So that it is taken out of the guest that has it, and the row says why."""
    assert blocked(discovery(host).scan([claim(1, "server")])) == {"2-1": ReasonCode.NOT_OFFERED}


def test_what_the_host_uses_is_told_with_the_reason(host: Host) -> None:
    mounted = Reason(ReasonCode.HOST_MOUNT, "used by the host: mounted at /srv")
    host.used = {"2-1": mounted}
    found = discovery(host, "{}").scan([])
    assert {device.port: device.blocked for device in found} == {"2-1": mounted, "1-6": None}


def test_what_was_scanned_is_identified_by_other_claims(host: Host) -> None:
    it = discovery(host, "{}")
    assert [device.device_id for device in it.scan([])] == [None, None]
    host.plugged = []
    assert [device.device_id for device in it.identify([claim(1, None)])] == ["device-1", None]


def test_a_device_is_looked_at_again(host: Host) -> None:
    it = discovery(host, "{}")
    [stick, _] = it.scan([claim(1, None)])
    assert it.refresh(stick) == stick
    host.used = {"2-1": Reason(ReasonCode.HOST_SWAP, "used by the host: swap space")}
    again = it.refresh(stick)
    assert again == dataclasses.replace(
        stick, blocked_code=host.used["2-1"].code, blocked_reason=host.used["2-1"].text
    )


@pytest.mark.parametrize(
    ("took", "soon", "late"),
    [
        pytest.param(0.05, 0.04, 0.06, id="for as long as another look takes"),
        # It waited for what used the device for a moment.
        pytest.param(0.15, 0.04, 0.06, id="for a fifth of a second at most"),
    ],
)
def test_a_device_that_was_just_looked_at_is_not_looked_at_again(
    host: Host, took: float, soon: float, late: float
) -> None:
    mounted = Reason(ReasonCode.HOST_MOUNT, "used by the host: mounted at /srv")
    host.used = {"1-6": mounted}
    host.look_seconds = took
    it = discovery(host, "{}")
    stick, reader = it.scan([claim(1, None)])
    ended = host.now
    host.now = ended + soon
    assert (it.confirm(stick), it.confirm(reader)) == (stick, reader)
    assert host.looks == [["2-1", "1-6"]]
    host.used = {"2-1": mounted}
    host.now = ended + late
    again = it.confirm(stick)
    assert again is not None
    assert again.blocked == mounted
    assert host.looks[1:] == [["2-1"]]


def test_a_device_that_was_just_looked_at_is_read_again(host: Host) -> None:
    """What is in its port now may be another one."""
    it = discovery(host, "{}")
    [stick, _] = it.scan([])
    host.plugged = [dataclasses.replace(STICK, plug_id="b/3")]
    assert it.confirm(stick) is None
    assert len(host.looks) == 1


def test_before_a_reset_a_device_is_looked_at_in_any_case(host: Host) -> None:
    it = discovery(host, "{}")
    [stick, _] = it.scan([])
    it.refresh(stick)
    assert len(host.looks) == 2


def test_a_device_in_doubt_stays_so_until_it_is_identified_anew(host: Host) -> None:
    """Or one that was given back would be said to be unplugged, and not to be in doubt."""
    it = discovery(host, "{}")
    known = [
        claim(1, "server", vendor_id="08e6", product_id="4433", serial="", socket="s6", plug_id="b/0"),
        claim(2, None, vendor_id="08e6", product_id="4433", serial="", socket="s7", plug_id="b/1"),
    ]
    [_, reader] = it.scan(known)
    assert reader.blocked_code == ReasonCode.IDENTITY_IN_DOUBT
    assert it.refresh(reader) == reader
    host.plugged = []
    assert it.refresh(reader) is None


@pytest.mark.parametrize("change", [{"plug_id": "b/3"}, {"socket": "s9"}])
def test_what_was_plugged_into_its_port_since_is_not_it(host: Host, change: dict[str, Any]) -> None:
    """Whatever its numbers are: a twin has the same."""
    it = discovery(host, "{}")
    [stick, _] = it.scan([])
    host.plugged = [dataclasses.replace(STICK, **change)]
    assert it.refresh(stick) is None
    host.plugged = []
    assert it.refresh(stick) is None
