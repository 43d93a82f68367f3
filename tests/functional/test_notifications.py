# SPDX-License-Identifier: Apache-2.0
"""Notifications of what happened, as a listener on the message bus gets them."""

from __future__ import annotations

import datetime
import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import oslo_messaging
import pytest
from oslo_messaging.notify import _impl_test as test_driver

from compute_shim import notifications
from compute_shim.db import events
from compute_shim.objects import ReasonCode, State
from tests.functional.world import DEMO_PROJECT, SERVERS, World

_DOCUMENT = Path(__file__).parents[2] / "doc/source/admin/notifications.rst"
_PATIENCE = 60

_VOLATILE = {"message_id", "timestamp", "created_at", "device_id", "request_id"}


def _configure(world: World, bus: str = "fake:///", driver: list[str] | None = None) -> None:
    oslo_messaging.get_notification_transport(world.conf)
    world.conf.set_override("transport_url", bus)
    world.conf.set_override("driver", driver or [], group="oslo_messaging_notifications")
    notifications.start(world.conf, world.db)


@pytest.fixture
def sent(world: World) -> Iterator[Callable[[int], list[dict[str, Any]]]]:
    """Waits until so many notifications are sent, and gives all."""
    test_driver.reset()
    _configure(world, driver=["test"])

    def wait(count: int) -> list[dict[str, Any]]:
        deadline = time.monotonic() + _PATIENCE
        while len(test_driver.NOTIFICATIONS) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return [message for _, message, _, _ in test_driver.NOTIFICATIONS]

    yield wait
    test_driver.reset()


def _life(world: World) -> str:
    """A device is plugged in, used, unplugged meanwhile, refused, given back, disabled and forgotten."""
    server = SERVERS["DEMO"].id
    world.sync(STICK1={})
    device_id = world.device_id("STICK1")
    world.attach("demo", server, device_id)
    world.report(device_id, State.ATTACHED)
    world.report(device_id, State.WAITING, reason_code=ReasonCode.UNPLUGGED)
    world.report(device_id, State.ATTACHED)
    world.report(device_id, State.WAITING, reason_code=ReasonCode.SERVER_OFF)
    world.report(device_id, State.FAILED, "No free USB ports", ReasonCode.NO_FREE_USB_PORT)
    world.attach("demo", server, device_id)
    world.report(device_id, State.ATTACHED)
    world.detach("demo", server, device_id)
    world.report(device_id, State.DETACHING, "busy", ReasonCode.OPEN_IN_SERVER)
    world.report(device_id, State.AVAILABLE, "reset", ReasonCode.RESET)
    world.sync(STICK1={"blocked_reason": "mounted at /srv", "blocked_code": ReasonCode.HOST_MOUNT})
    world.sync(STICK1={})
    world.request("admin", "PATCH", f"/v1/devices/{device_id}", {"device": {"enabled": False}})
    world.sync()
    world.request("admin", "DELETE", f"/v1/devices/{device_id}")
    return device_id


def test_the_life_of_a_device(world: World, sent: Callable[[int], list[dict[str, Any]]]) -> None:
    device_id = _life(world)
    found = sent(17)
    assert [(message["event_type"], message["payload"]["state"]) for message in found] == [
        ("usb_device.plugged", "available"),
        ("usb_device.attach.start", "attaching"),
        ("usb_device.attach.end", "attached"),
        ("usb_device.unplugged", "waiting"),
        ("usb_device.plugged", "attached"),
        ("usb_device.updated", "waiting"),
        ("usb_device.attach.error", "failed"),
        ("usb_device.attach.start", "attaching"),
        ("usb_device.attach.end", "attached"),
        ("usb_device.detach.start", "detaching"),
        ("usb_device.detach.error", "detaching"),
        ("usb_device.detach.end", "available"),
        ("usb_device.updated", "unavailable"),
        ("usb_device.available", "available"),
        ("usb_device.updated", "unavailable"),
        ("usb_device.unplugged", "unavailable"),
        ("usb_device.forgotten", "unavailable"),
    ]
    assert {message["payload"]["device_id"] for message in found} == {device_id}
    assert {message["publisher_id"] for message in found} == {"usb-shim.controller"}
    errors = {message["event_type"] for message in found if message["priority"] == "ERROR"}
    assert errors == {"usb_device.attach.error", "usb_device.detach.error"}
    payloads = [message["payload"] for message in found]
    assert payloads[6]["reason_code"] == "no_free_usb_port"
    assert (payloads[14]["user_id"], payloads[14]["project_id"]) == ("user-of-admin", None)
    assert (payloads[11]["project_id"], payloads[11]["user_id"]) == (DEMO_PROJECT, None)


def test_the_sample_in_the_documentation(world: World, sent: Callable[[int], list[dict[str, Any]]]) -> None:
    _life(world)
    message = sent(17)[1]
    sample = json.loads(_DOCUMENT.read_text().split(".. code-block:: json")[1])
    assert _plain(message) == _plain(sample)
    assert list(message["payload"]) == list(sample["payload"])
    documented = re.findall(r"^``(\w+)``  +\S", _DOCUMENT.read_text(), re.MULTILINE)
    assert documented == list(message["payload"])
    assert re.fullmatch(r"[0-9-]{10}T[0-9:]{8}Z", message["payload"]["created_at"])


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """A message without what is another each time."""
    values = {**message, **message["payload"]}
    return {
        key: type(value) if key in _VOLATILE else value for key, value in values.items() if key != "payload"
    }


def test_every_type_is_documented() -> None:
    causes, states = list(ReasonCode), [*State, ""]
    named = {
        notifications.event_type(
            {"cause_code": cause, "state": state, "reason_code": reason, "device_id": device_id}
        )
        for cause, state, reason, device_id in itertools.product(causes, states, [None, "x"], ["", "id"])
    }
    assert set(re.findall(r"^``(usb_\w+[.][a-z.]+)``", _DOCUMENT.read_text(), re.MULTILINE)) == named


def test_a_host_that_is_deleted(world: World, sent: Callable[[int], list[dict[str, Any]]]) -> None:
    with world.db.writer() as session:
        events.add_of_host(session, "compute1", ReasonCode.HOST_DELETED, events.Actor("u", "req-1", "p"))
    [message] = sent(1)
    assert (message["event_type"], message["payload"]["host"]) == ("usb_host.deleted", "compute1")
    assert (message["payload"]["device_id"], message["payload"]["state"]) == (None, None)


def test_what_is_rolled_back_is_not_told(world: World, sent: Callable[[int], list[dict[str, Any]]]) -> None:
    with pytest.raises(ZeroDivisionError), world.db.writer() as session:
        events.add_of_host(session, "compute1", ReasonCode.HOST_DELETED)
        raise ZeroDivisionError
    world.sync(STICK1={})
    assert [message["event_type"] for message in sent(1)] == ["usb_device.plugged"]


def test_without_a_driver_nothing_is_sent(world: World) -> None:
    before = threading.active_count()
    # Nobody listens on port 1 (tcpmux).
    _configure(world, "rabbit://guest:guest@127.0.0.1:1/")
    _life(world)
    assert threading.active_count() == before


def test_a_bus_that_is_away_neither_delays_nor_fails_a_request(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    reached, released = threading.Event(), threading.Event()

    class Hanging:
        def info(self, *arguments: Any) -> None:
            reached.set()
            assert released.wait(_PATIENCE)
            raise oslo_messaging.MessageDeliveryFailure("no bus")

        error = info

    world.db.on_commit(notifications.Notifications(Hanging()).put)
    world.sync(STICK1={})
    assert reached.wait(_PATIENCE)
    device_id = world.device_id("STICK1")
    assert world.attach("demo", SERVERS["DEMO"].id, device_id).status_int == 202
    released.set()
    deadline = time.monotonic() + _PATIENCE
    while caplog.text.count("MessageDeliveryFailure") < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "Unexpected error in thread notifications" in caplog.text


def test_a_listener_that_fails_fails_no_request(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def fail(done: Any) -> None:
        raise ZeroDivisionError

    world.db.on_commit(fail)
    world.sync(STICK1={})
    assert world.attach("demo", SERVERS["DEMO"].id, world.device_id("STICK1")).status_int == 202
    assert "Cannot tell what was committed" in caplog.text


def test_a_queue_that_is_full_is_told(caplog: pytest.LogCaptureFixture) -> None:
    begun, released, ended = threading.Event(), threading.Event(), threading.Event()

    class Hanging:
        def info(self, context: Any, name: str, payload: dict[str, Any]) -> None:
            begun.set()
            assert released.wait(_PATIENCE)
            if payload["device_id"] == "1000":
                ended.set()

    def event(number: int) -> dict[str, Any]:
        values = {"cause_code": "plugged_in", "state": "available", "created_at": datetime.datetime.min}
        return values | {"device_id": str(number)}

    queue = notifications.Notifications(Hanging())
    queue.put([event(0)])
    assert begun.wait(_PATIENCE)
    queue.put([event(number) for number in range(1, 1011)])
    assert "10 notifications are lost" in caplog.text
    released.set()
    assert ended.wait(_PATIENCE)
