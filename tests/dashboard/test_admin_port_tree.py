# SPDX-License-Identifier: Apache-2.0
"""Devices by bus and port."""

from __future__ import annotations

from typing import Any

import pytest

from usb_dashboard.devices import Device
from usb_dashboard.panels.admin import port_tree


def shape(places: list[port_tree.Place]) -> dict[str, Any]:
    """``{path: [ids of the devices, {what is below}]}``."""
    return {place.path: [[device.id for device in place.devices], shape(place.below)] for place in places}


def tree(*ports: str) -> dict[str, Any]:
    """Of devices that are called after their ports."""
    return shape(port_tree.build([Device({"id": port, "port": port}) for port in ports]))


def test_no_device_no_bus() -> None:
    assert tree() == {}


def test_a_bus_and_its_ports() -> None:
    assert tree("2-1", "1-7", "1-2") == {
        "1": [[], {"1-2": [["1-2"], {}], "1-7": [["1-7"], {}]}],
        "2": [[], {"2-1": [["2-1"], {}]}],
    }


def test_a_hub_is_known_by_what_hangs_on_it() -> None:
    assert tree("1-7.1.4", "1-7.2") == {
        "1": [[], {"1-7": [[], {"1-7.1": [[], {"1-7.1.4": [["1-7.1.4"], {}]}], "1-7.2": [["1-7.2"], {}]}]}]
    }


def test_a_device_was_where_a_hub_is_now() -> None:
    expected = {"1": [[], {"1-7": [["1-7"], {"1-7.1": [["1-7.1"], {}]}]}]}
    assert tree("1-7", "1-7.1") == tree("1-7.1", "1-7") == expected


def test_two_devices_were_in_one_port() -> None:
    devices = [Device({"id": name, "port": "1-1"}) for name in ("first", "second")]
    assert shape(port_tree.build(devices)) == {"1": [[], {"1-1": [["first", "second"], {}]}]}


@pytest.mark.parametrize(
    "ports", [["9-1", "10-1"], ["1-2", "1-10"], ["1-7.2", "1-7.10"]], ids=["buses", "ports", "ports of a hub"]
)
def test_numbers_are_in_their_order(ports: list[str]) -> None:
    def paths(places: list[port_tree.Place]) -> list[str]:
        return [path for place in places for path in (place.path, *paths(place.below))]

    devices = [Device({"id": port, "port": port}) for port in reversed(ports)]
    assert [path for path in paths(port_tree.build(devices)) if path in ports] == ports
