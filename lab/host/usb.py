# SPDX-License-Identifier: Apache-2.0
"""The USB devices that can be plugged into a lab host, in QEMU's terms.

QEMU names a port by its path, `7.1` being port 1 of the hub at port 7, as the Linux kernel does.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Each with its slot of the PCI bus, hexadecimal: so that the host finds the controller's buses in sysfs.
CONTROLLER = "xhci"
SECOND_CONTROLLER = "xhci2"
CONTROLLERS = {CONTROLLER: "10", SECOND_CONTROLLER: "11"}
CONTROLLER_PORTS = 15  # QEMU's limit for qemu-xhci
STICK_SIZE = 16 << 20

HUB_PORTS = 8  # QEMU's limit for usb-hub
HUBS_PER_CONTROLLER = 6  # qemu-xhci has 64 slots: 6 hubs and the 48 devices behind them fit


#: [usb] device_spec for all of them: keyboards and mice must be named, sticks change projects.
EVERYTHING = (
    '[{"vendor_id": "0627", "product_id": "0001", "shared": true}, {"shared": true, "handover": "none"}]'
)


@dataclass(frozen=True)
class Device:
    """One emulated device: its name in the lab, QEMU's driver, and what lsusb shows as its ID.

    `port` is where it is plugged in at the start. A device behind a hub has its port on the hub there. A
    spare one is plugged in only on request.
    """

    name: str
    driver: str
    usb_id: str
    port: str
    serial: str = ""
    hub: str | None = None
    controller: str = CONTROLLER
    spare: bool = False
    properties: dict[str, Any] = field(default_factory=dict)

    @property
    def is_stick(self) -> bool:
        """Whether a disk image belongs to it."""
        return self.driver == "usb-storage"


STICK = {"removable": True}

DEVICES = {
    device.name: device
    for device in (
        Device("stick1", "usb-storage", "46f4:0001", "1", "LABSTICK01", properties=STICK),
        Device("stick2", "usb-storage", "46f4:0001", "2", "LABSTICK02", properties=STICK),
        Device("stick3", "usb-storage", "46f4:0001", "3", properties=STICK),
        Device("keyboard", "usb-kbd", "0627:0001", "4"),
        # Without always-plugged QEMU shows it only while its other end is connected.
        Device(
            "serial1",
            "usb-serial",
            "0403:6001",
            "5",
            properties={"chardev": "serial1", "always-plugged": True},
        ),
        Device("reader", "usb-ccid", "08e6:4433", "6"),
        Device("hub1", "usb-hub", "0409:55aa", "7", properties={"ports": HUB_PORTS}),
        Device("mouse1", "usb-mouse", "0627:0001", "1", hub="hub1"),
        Device("tablet1", "usb-tablet", "0627:0001", "2", hub="hub1"),
        # In the same port as stick3, of the other controller.
        Device(
            "stick4",
            "usb-storage",
            "46f4:0001",
            "3",
            controller=SECOND_CONTROLLER,
            spare=True,
            properties=STICK,
        ),
        # Two with the same serial number, as cheap ones come out of the factory.
        Device("twin1", "usb-storage", "46f4:0001", "8", "0123456789", spare=True, properties=STICK),
        Device("twin2", "usb-storage", "46f4:0001", "9", "0123456789", spare=True, properties=STICK),
    )
}


def device_arguments(device: Device, port: str) -> dict[str, Any]:
    """Return QMP device_add's arguments for `device` at the port path `port`.

    An empty serial is given as such: without one QEMU makes up a serial from the port.
    """
    arguments = {
        "driver": device.driver,
        "id": device.name,
        "bus": f"{device.controller}.0",
        "port": port,
        "serial": device.serial,
        **device.properties,
    }
    return {**arguments, "drive": device.name} if device.is_stick else arguments


def image_arguments(device: Device, directory: Path) -> dict[str, Any]:
    """Return QMP blockdev-add's arguments for the image of the stick `device`."""
    return {
        "driver": "raw",
        "node-name": device.name,
        "file": {"driver": "file", "filename": str(image_path(device, directory))},
    }


def image_path(device: Device, directory: Path) -> Path:
    """Return the file behind the stick `device` of the host whose files are in `directory`."""
    return directory / f"{device.name}.img"


def make_images(directory: Path) -> None:
    """Write a fresh image for each stick: its name and a newline, then zeros."""
    for device in DEVICES.values():
        if device.is_stick:
            with image_path(device, directory).open("wb") as image:
                image.write(f"{device.name}\n".encode())
                image.truncate(STICK_SIZE)


def full_port(device: Device) -> str:
    """Return the port path at which `device` is plugged in at the start."""
    return f"{DEVICES[device.hub].port}.{device.port}" if device.hub else device.port


def crowd(count: int) -> list[dict[str, Any]]:
    """Return device_add's arguments for `count` mice and tablets behind hubs on controllers of their own."""
    devices: list[dict[str, Any]] = []
    for number in range(count):
        controller, rest = divmod(number, HUBS_PER_CONTROLLER * HUB_PORTS)
        hub, port = divmod(rest, HUB_PORTS)
        bus = f"crowd{controller}"
        if rest == 0:
            ports = {"p2": CONTROLLER_PORTS, "p3": CONTROLLER_PORTS}
            devices.append({"driver": "qemu-xhci", "id": bus, **ports})
        if port == 0:
            devices.append(
                {
                    "driver": "usb-hub",
                    "id": f"{bus}-hub{hub + 1}",
                    "bus": f"{bus}.0",
                    "port": f"{hub + 1}",
                    "ports": HUB_PORTS,
                }
            )
        devices.append(
            {
                "driver": "usb-tablet" if number % 2 else "usb-mouse",
                "id": f"crowd-device{number + 1}",
                "bus": f"{bus}.0",
                "port": f"{hub + 1}.{port + 1}",
            }
        )
    return devices
