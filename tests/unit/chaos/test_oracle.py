# SPDX-License-Identifier: Apache-2.0
"""The oracle of the chaos run sees what is wrong."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from lab.host.domains import Server
from tests.chaos.oracle import Domain, Plugged, View, disagreements, row_of, shared

ONE, TWO = Server("one"), Server("two")
SERVERS = {"one": ONE, "two": TWO}
CLAIMS = {"a": ONE.uuid, "b": None, "c": TWO.uuid}
ADDRESS = (2, 3)


def plugged(serial: str, port: str, device: int, driver: str, used: bool = False) -> Plugged:
    return Plugged(("46f4", "0001", serial), f"socket {port}", port, (ADDRESS[0], device), driver, used)


def row(device_id: str, state: str, reason: str | None, owner: str | None, port: str) -> dict[str, Any]:
    return {
        "id": device_id,
        "identity": f"46f4:0001:{device_id}",
        "vendor_id": "46f4",
        "product_id": "0001",
        "serial": device_id,
        "serial_shared": None,
        "socket": f"socket {port}",
        "port": port,
        "bus": ADDRESS[0],
        "device": ADDRESS[1],
        "device_class": "08",
        "present": state != "waiting",
        "instance_uuid": owner,
        "state": state,
        "reason_code": reason,
        "blocked_code": None,
    }


def view(**changes: Any) -> View:
    """One device is attached, one free, and one that is pulled out belongs to a server that runs."""
    rows = {
        "a": row("a", "attached", None, ONE.uuid, "2-1"),
        "b": row("b", "available", None, None, "2-2") | {"device": 4},
        "c": row("c", "waiting", "unplugged", TWO.uuid, "2-9"),
    }
    seen = View(
        plugged={
            "a": plugged("a", "2-1", ADDRESS[1], "usbfs"),
            "b": plugged("b", "2-2", 4, "usb-storage"),
        },
        rows=rows,  # type: ignore[arg-type]
        shown={
            key: (item["state"], item["reason_code"], item["instance_uuid"]) for key, item in rows.items()
        },
        domains={
            "one": Domain(True, [("a", ADDRESS, False)], 0, {ADDRESS}, ["a"]),
            "two": Domain(True, [], 0, set(), []),
        },
    )
    return dataclasses.replace(seen, **changes)


def complaints(seen: View, claims: dict[str, str | None] = CLAIMS) -> list[str]:
    return list(disagreements(seen, claims, SERVERS, {"one", "two"}))


def test_it_agrees_with_what_is_right() -> None:
    assert complaints(view()) == []


@pytest.mark.parametrize(
    "domain",
    [
        Domain(True, [], 0, {ADDRESS}, ["a"]),
        Domain(True, [("a", ADDRESS, True)], 0, {ADDRESS}, ["a"]),
        Domain(True, [("a", (2, 9), False)], 0, {ADDRESS}, ["a"]),
        Domain(True, [("a", ADDRESS, False)] * 2, 0, {ADDRESS}, ["a"]),
        Domain(True, [("a", ADDRESS, False)], 1, {ADDRESS}, ["a"]),
        Domain(True, [("a", ADDRESS, False)], 0, set(), ["a"]),
        Domain(True, [("a", ADDRESS, False)], 0, {ADDRESS, (2, 4)}, ["a"]),
        Domain(True, [("a", ADDRESS, False)], 0, {ADDRESS}, []),
        Domain(False, [], 0, set(), []),
    ],
)
def test_what_is_wrong_in_a_domain(domain: Domain) -> None:
    assert complaints(view(domains={"one": domain, "two": Domain(True, [], 0, set(), [])}))


@pytest.mark.parametrize(
    ("device_id", "wrong"),
    [
        ("a", {"state": "waiting", "reason_code": "unplugged"}),
        ("a", {"reason_code": "something"}),
        ("a", {"instance_uuid": None}),
        ("a", {"device": 9}),
        ("b", {"state": "attached", "instance_uuid": TWO.uuid}),
        ("b", {"present": False}),
        ("c", {"state": "attached", "reason_code": None}),
        ("c", {"reason_code": "server_off"}),
        ("c", {"socket": "socket 2-2"}),
    ],
)
def test_what_is_wrong_in_the_database(device_id: str, wrong: dict[str, Any]) -> None:
    seen = view()
    rows = seen.rows | {device_id: seen.rows[device_id] | wrong}  # type: ignore[operator]
    shown = {key: (item["state"], item["reason_code"], item["instance_uuid"]) for key, item in rows.items()}
    assert complaints(dataclasses.replace(seen, rows=rows, shown=shown))


def test_twins_are_known_by_their_sockets() -> None:
    twin = {"serial": "a", "serial_shared": True}
    rows = {
        "here": row("here", "available", None, None, "2-1") | twin,
        "there": row("there", "unavailable", "unplugged", None, "2-2") | twin | {"present": False},
    }
    found = plugged("a", "2-1", ADDRESS[1], "usb-storage")
    assert row_of(found, rows) == "here"  # type: ignore[arg-type]
    assert row_of(dataclasses.replace(found, socket="socket 2-2"), rows) == "there"  # type: ignore[arg-type]
    moved = dataclasses.replace(found, socket="socket 2-3")
    assert row_of(moved, rows) == "socket 2-3"  # type: ignore[arg-type]
    alone = {"here": rows["here"] | {"serial_shared": None}}
    assert row_of(moved, alone) == "here"  # type: ignore[arg-type]


def test_what_is_wrong_elsewhere() -> None:
    seen = view()
    assert complaints(seen, CLAIMS | {"b": TWO.uuid})
    assert complaints(view(shown=seen.shown | {"a": ("waiting", None, ONE.uuid)}))
    assert complaints(view(plugged=seen.plugged | {"socket 2-4": plugged("d", "2-4", 5, "-")}))
    assert complaints(view(plugged=seen.plugged | {"b": plugged("b", "2-2", 4, "usbfs")}))
    assert complaints(view(plugged=seen.plugged | {"b": plugged("b", "2-2", 4, "usb-storage", used=True)}))
    assert complaints(view(plugged=seen.plugged | {"a": plugged("a", "2-1", ADDRESS[1], "usbfs", used=True)}))
    assert list(shared({"one": {ADDRESS}, "two": {ADDRESS}}))
