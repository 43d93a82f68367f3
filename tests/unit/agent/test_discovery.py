# SPDX-License-Identifier: Apache-2.0
"""What of a host's devices is offered."""

from __future__ import annotations

import dataclasses

import pytest

from compute_shim.agent import device_spec, host_use, inventory
from compute_shim.agent.discovery import Discovery
from compute_shim.objects import Device, Plugged, Reason, ReasonCode
from tests.unit.agent.model import claim

STICK = Plugged("x", "46f4", "0001", "", "", "SERIAL1", "08", "5000", "2-1", 2, 3)
READER = Plugged("y", "08e6", "4433", "", "", "", "0b", "12", "1-6", 1, 4)


class Host:
    """What is plugged into the host and what it uses."""

    def __init__(self) -> None:
        self.plugged = [STICK, READER]
        self.used: dict[str, Reason] = {}

    def read(self, port: str) -> Plugged | None:
        return next((item for item in self.plugged if item.port == port), None)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    it = Host()
    monkeypatch.setattr(inventory, "scan", lambda: it.plugged)
    monkeypatch.setattr(inventory, "read", it.read)
    monkeypatch.setattr(host_use, "reasons", lambda: it.used)
    return it


def discovery(*rules: str) -> Discovery:
    return Discovery(device_spec.parse(rules))


def blocked(devices: list[Device]) -> dict[str, str | None]:
    return {device.port: device.blocked_code for device in devices}


def test_without_a_rule_nothing_is_seen(host: Host) -> None:
    assert discovery().scan([]) == []


def test_only_what_a_rule_allows_is_seen(host: Host) -> None:
    assert blocked(discovery('{"vendor_id": "46f4"}').scan([])) == {"2-1": None}


def test_other_rules_count_from_the_next_scan_on(host: Host) -> None:
    one = discovery()
    assert one.scan([]) == []
    one.use(device_spec.parse(["{}"]))
    assert one.scan([]) != []


def test_a_known_device_that_is_no_longer_allowed_is_told_as_such(host: Host) -> None:
    """So that it is taken out of the guest that has it, and the row says why."""
    assert blocked(discovery().scan([claim(1, "server")])) == {"2-1": ReasonCode.NOT_OFFERED}


def test_what_the_host_uses_is_told_with_the_reason(host: Host) -> None:
    mounted = Reason(ReasonCode.HOST_MOUNT, "used by the host: mounted at /srv")
    host.used = {"2-1": mounted}
    found = discovery("{}").scan([])
    assert {device.port: device.blocked for device in found} == {"2-1": mounted, "1-6": None}


def test_a_held_device_that_moved_keeps_its_identity_when_a_twin_comes(host: Host) -> None:
    """The port of the claim may be older than what this discovery has seen."""
    it, held = discovery("{}"), [claim(1, "server", port="9-9")]
    it.scan(held)
    host.plugged = [STICK, dataclasses.replace(STICK, port="2-2", device=9)]
    assert {device.port: device.identity for device in it.scan(held)} == {
        "2-1": "46f4:0001:SERIAL1",
        "2-2": "46f4:0001@2-2",
    }


def test_a_device_is_looked_at_again(host: Host) -> None:
    it = discovery("{}")
    [stick, _] = it.scan([])
    host.plugged = [dataclasses.replace(STICK, device=7)]
    assert it.refresh(stick) == dataclasses.replace(stick, device=7)
    host.used = {"2-1": Reason(ReasonCode.HOST_SWAP, "used by the host: swap space")}
    again = it.refresh(stick)
    assert again is not None
    assert again.blocked == host.used["2-1"]


@pytest.mark.parametrize("change", [{"serial": "SERIAL2"}, {"product_id": "0002"}, {"vendor_id": "dead"}])
def test_another_device_in_its_port_is_not_it(host: Host, change: dict[str, str]) -> None:
    it = discovery("{}")
    [stick, _] = it.scan([])
    host.plugged = [dataclasses.replace(STICK, **change)]
    assert it.refresh(stick) is None
    host.plugged = []
    assert it.refresh(stick) is None
