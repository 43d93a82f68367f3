# SPDX-License-Identifier: Apache-2.0
"""The guest's image and flavor, the compute host's place in the cell, and the servers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from lab.cloud.rest import Rest
from lab.cloud.timeline import LabError
from lab.guest import GuestImage, halting

IMAGE = "tiny"
FLAVOR = "m1.usb"
SERVERS = {"demo": "demo", "demo2": "demo", "other": "other"}
"""Server by name: the project it belongs to."""

_DISK_BYTES = 1 << 20
_POLL_SECONDS = 1
_ACTIVE_SECONDS = 600
_TRIES = 10


def seed(admin: Rest, guest: GuestImage) -> None:
    """Upload the guest (kernel, initial RAM disk, an empty disk) and make its flavor."""
    kernel = _upload(admin, f"{IMAGE}-kernel", "aki", guest.kernel.read_bytes(), {})
    ramdisk = _upload(admin, f"{IMAGE}-initrd", "ari", guest.initrd.read_bytes(), {})
    properties = {
        "kernel_id": kernel,
        "ramdisk_id": ramdisk,
        "os_command_line": guest.cmdline,
        # The older machine type, pc, takes twice as long to boot under emulation.
        "hw_machine_type": "q35",
        # Nova honours the controller only where its own tablet is not a USB device.
        "hw_usb_model": "qemu-xhci",
        "hw_input_bus": "virtio",
    }
    _upload(admin, IMAGE, "ami", bytes(_DISK_BYTES), properties)
    add_flavor(admin, "usb", FLAVOR, 128)


def add_flavor(admin: Rest, flavor_id: str, name: str, memory_mib: int) -> None:
    """Create a flavor that suffices for the guest."""
    # Nova lets ordinary users boot only from volumes with a flavor that has no disk.
    flavor = {"id": flavor_id, "name": name, "ram": memory_mib, "vcpus": 1, "disk": 1}
    admin.compute.post("/flavors", json={"flavor": flavor})
    # Each further device is one more for the guest to detect.
    extra_specs = {"hw_rng:allowed": "false"}
    admin.compute.post(f"/flavors/{flavor_id}/os-extra_specs", json={"extra_specs": extra_specs})


def add_halting_image(admin: Rest, name: str, properties: Mapping[str, object]) -> None:
    """Add an image with the guest's hardware whose server does nothing.

    :param properties: what it has besides.
    """
    [image] = admin.image.get("/images", params={"name": IMAGE}).json()["images"]
    hardware = {key: value for key, value in image.items() if key.startswith("hw_")}
    kernel = _upload(admin, f"{name}-kernel", "aki", halting.kernel(), {})
    _upload(admin, name, "ami", bytes(_DISK_BYTES), {**hardware, **properties, "kernel_id": kernel})


def warm_network(admin: Rest) -> None:
    """Send Neutron a first request.

    Neutron 29 answers a first request for ports with 500: SQLAlchemy has not configured its mappers yet.
    """
    admin.network.get("/networks")


def create_server(user: Rest, name: str, image_name: str = IMAGE) -> None:
    """Create a server and wait until it is ACTIVE.

    :raises LabError: it is not, with Nova's reason
    """
    image = user.image.get("/images", params={"name": image_name}).json()["images"][0]["id"]
    server = {"name": name, "flavorRef": "usb", "imageRef": image, "networks": "none"}
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(1)
        server_id = user.compute.post("/servers", json={"server": server}).json()["server"]["id"]
        shown = _wait_built(user, server_id)
        if shown["status"] == "ACTIVE":
            return
        fault = str(shown.get("fault", {}).get("message", "no reason given"))
        # The scheduler sees a new compute host only after a moment.
        if "No valid host" not in fault:
            break
        user.compute.delete(f"/servers/{server_id}")
    raise LabError(f"Server {name} is {shown['status']}: {fault}")


def server_name(user: Rest, server_id: str) -> str:
    """The name of a server."""
    name: str = user.compute.get(f"/servers/{server_id}").json()["server"]["name"]
    return name


def server_id(user: Rest, name: str) -> str:
    """The id of the user's server of that name.

    :raises LabError: there is none
    """
    listed = user.compute.get("/servers", params={"name": f"^{name}$"}).json()["servers"]
    if not listed:
        raise LabError(f"There is no server {name}")
    found: str = listed[0]["id"]
    return found


def states(admin: Rest) -> dict[str, str]:
    """Nova's state of each server, by name."""
    listed = admin.compute.get("/servers/detail", params={"all_tenants": "1"}).json()["servers"]
    return {server["name"]: server["status"] for server in listed}


def _wait_built(user: Rest, server_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + _ACTIVE_SECONDS
    while True:
        shown: dict[str, Any] = user.compute.get(f"/servers/{server_id}").json()["server"]
        if shown["status"] != "BUILD":
            return shown
        if time.monotonic() > deadline:
            raise LabError(f"Server {shown['name']} is not built after {_ACTIVE_SECONDS} s")
        time.sleep(_POLL_SECONDS)


def _upload(admin: Rest, name: str, kind: str, content: bytes, properties: Mapping[str, object]) -> str:
    body = {"name": name, "disk_format": kind, "container_format": kind, "visibility": "public"}
    image: str = admin.image.post("/images", json={**body, **properties}).json()["id"]
    admin.image.put(
        f"/images/{image}/file", data=content, headers={"Content-Type": "application/octet-stream"}
    )
    return image
