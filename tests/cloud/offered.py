# SPDX-License-Identifier: Apache-2.0
"""The sticks of the hosts as a kind that a flavor requests."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import keystoneauth1.exceptions

from compute_shim.conductor.placement_sync import INTERVAL as PASS_SECONDS
from lab.cloud import compute
from lab.cloud.process import wait_until
from lab.cloud.rest import Rest
from lab.cloud.site import COMPUTE_HOST as HOME
from lab.cloud.site import SECOND_HOST as AWAY
from lab.host import Host
from tests.cloud.conftest import Cloud
from tests.cloud.servers import users

KIND = "labstick"
RESOURCE_CLASS = "CUSTOM_USB_LABSTICK"
SERIALS = {"LABSTICK01", "LABSTICK02"}
"""The serial numbers of the sticks; each host has one of each."""

_FLAVOR = "usb-stick"
_SECONDS = 600


class Offered:
    """The sticks of the hosts, as a kind that a flavor requests."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.usb = cloud.usb("admin")
        self.admin = Rest(cloud.site, "admin")
        self.user = Rest(cloud.site, "demo")
        self.image = self.user.image.get("/images", params={"name": cloud.halting_image()}).json()

    def sticks(self, host: str = HOME) -> list[dict[str, Any]]:
        return [device for device in self.usb.devices.list(host=host) if device["serial"] in SERIALS]

    def give_kind(self, host: str, kind: str | None) -> None:
        """Make the sticks of a host interchangeable, or as they were."""
        for stick in self.sticks(host):
            self.usb.devices.update(stick["id"], kind=kind)

    def inventory(self, host: str = HOME) -> tuple[int, int] | None:
        """What Placement has of the sticks of a host: total and reserved."""
        params = {"name": f"{host}_usb"}
        for provider in self.admin.placement.get("/resource_providers", params=params).json()[
            "resource_providers"
        ]:
            path = f"/resource_providers/{provider['uuid']}/inventories"
            shown = self.admin.placement.get(path).json()["inventories"].get(RESOURCE_CLASS)
            return shown and (shown["total"], shown["reserved"])
        return None

    def boot(self, name: str) -> str:
        """Have Nova start a server with one stick; its id."""
        server = {
            "name": name,
            "flavorRef": _FLAVOR,
            "imageRef": self.image["images"][0]["id"],
            "networks": "none",
        }
        created: str = self.user.compute.post("/servers", json={"server": server}).json()["server"]["id"]
        return created

    def shown(self, server_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.user.compute.get(f"/servers/{server_id}").json()["server"]
        return found

    def wait_built(self, server_id: str) -> dict[str, Any]:
        """The server as soon as Nova has built it, or has given up."""
        self.wait(lambda: self.shown(server_id)["status"] != "BUILD", f"{server_id} is not built")
        return self.shown(server_id)

    def attachments(self, server_id: str) -> list[dict[str, Any]]:
        return [
            stick for host in (HOME, AWAY) for stick in self.sticks(host) if stick["server_id"] == server_id
        ]

    def wait_attached(self, server_id: str, host: str = HOME) -> dict[str, Any]:
        """The stick that a server has, as soon as it is attached, and no other."""

        def attached() -> bool:
            return [(it["host"], it["state"]) for it in self.attachments(server_id)] == [(host, "attached")]

        self.wait(attached, f"{server_id} has not one stick of {host}")
        [stick] = self.attachments(server_id)
        return stick

    def holder(self, stick: dict[str, Any]) -> list[str]:
        """The processes that have a stick open."""
        return users(Host(stick["host"]), f"/dev/bus/usb/{stick['bus']:03}/{stick['device']:03}")

    def free(self, host: str = HOME) -> int:
        return sum(stick["state"] == "available" for stick in self.sticks(host))

    def wait_free(self, host: str) -> None:
        """Until all sticks of a host are free, and Placement has that from the conductor.

        Until then Nova finds no valid host in it. A pass that began before they were free may still write.
        """
        self.wait(lambda: self.free(host) == len(SERIALS), f"a stick of {host} is not given back")
        passed = time.monotonic() + 2 * PASS_SECONDS
        self.wait(
            lambda: time.monotonic() > passed and (self.inventory(host) or (0, 1))[1] == 0,
            f"Placement has a stick of {host} as reserved",
        )

    @contextlib.contextmanager
    def booting(self) -> Iterator[Callable[[str], str]]:
        """Have servers started (`boot`), which are deleted in the end."""
        started: list[str] = []

        def start(name: str) -> str:
            started.append(self.boot(name))
            return started[-1]

        yield start
        for server_id in started:
            with contextlib.suppress(keystoneauth1.exceptions.NotFound):
                self.user.compute.delete(f"/servers/{server_id}")
        for server_id in started:
            self.wait(lambda it=server_id: not self.attachments(it), "the sticks are not given back")

    def wait(self, condition: Callable[[], bool], complaint: str) -> None:
        wait_until(condition, complaint, _SECONDS, self.cloud.host.running, every=0.5)


@contextlib.contextmanager
def offering(cloud: Cloud) -> Iterator[Offered]:
    """Both sticks of the first host, and a flavor with one."""
    it = Offered(cloud)
    compute.add_flavor(it.admin, _FLAVOR, f"{compute.FLAVOR}.stick", 128)
    extra_specs = {f"resources:{RESOURCE_CLASS}": "1"}
    it.admin.compute.post(f"/flavors/{_FLAVOR}/os-extra_specs", json={"extra_specs": extra_specs})
    it.give_kind(HOME, KIND)
    try:
        it.wait(lambda: it.inventory() == (2, 0), "the sticks are not offered")
        yield it
    finally:
        it.give_kind(HOME, None)
        it.admin.compute.delete(f"/flavors/{_FLAVOR}")
        it.wait(lambda: it.inventory() is None, "the sticks are still offered")
