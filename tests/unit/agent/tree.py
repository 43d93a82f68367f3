# SPDX-License-Identifier: Apache-2.0
"""Trees of sysfs, udev's database and /proc, as a Linux host has them, for tests to read."""

from __future__ import annotations

from pathlib import Path

BOOT = "3f8e1d2c-0b7a-4b7e-9a53-5d6c7e8f9a0b"


def descriptors(device_class: int, *interface_classes: int) -> bytes:
    """A device descriptor, one configuration and its interfaces (USB 2.0 specification, 9.6).

    A class is one byte, or three with its subclass and protocol: 0x08, 0x080650.
    """
    device = bytes([18, 1, 0, 3, *_triple(device_class), 9, 0xF4, 0x46, 1, 0, 0, 0, 1, 2, 3, 1])
    configuration = bytes([9, 2, 0, 0, len(interface_classes), 1, 0, 0x80, 0])
    interfaces = b"".join(
        bytes([9, 4, number, 0, 0, *_triple(interface_class), 0])
        for number, interface_class in enumerate(interface_classes)
    )
    return device + configuration + interfaces


def _triple(value: int) -> bytes:
    return (value if value > 0xFF else value << 16).to_bytes(3, "big")


class Tree:
    """A host's files below a directory."""

    def __init__(self, root: Path) -> None:
        self.sys = root / "sys"
        self.udev = root / "run/udev"
        self.proc = root / "proc"
        kernel = self.proc / "sys/kernel/random"
        for directory in (self.sys / "bus/usb/devices", self.udev / "data", self.proc / "self", kernel):
            directory.mkdir(parents=True)
        (kernel / "boot_id").write_text(f"{BOOT}\n")

    def plug(
        self,
        port: str,
        bus: int,
        device: int,
        vendor_id: str = "46f4",
        product_id: str = "0001",
        descriptor: bytes = descriptors(0, 8),
        udev: dict[str, str] | None = None,
        **strings: bytes,
    ) -> Path:
        """Plug a device; strings are manufacturer, product and serial, as the device has them."""
        directory = self.sys / f"devices/pci0000:00/0000:00:14.0/usb{bus}" / port
        directory.mkdir(parents=True)
        (directory.parent / "speed").write_text("480\n")
        (self.sys / "bus/usb/devices" / port).symlink_to(directory)
        product = f"{int(vendor_id, 16):x}/{int(product_id, 16):x}/0"
        (directory / "uevent").write_text(
            f"MAJOR=189\nDEVTYPE=usb_device\nDRIVER=usb\nPRODUCT={product}\nTYPE=0/0/0\n"
            f"BUSNUM={bus:03}\nDEVNUM={device:03}\n"
        )
        (directory / "descriptors").write_bytes(descriptor)
        (directory / "speed").write_text("5000\n")
        for name, value in strings.items():
            (directory / name).write_bytes(value + b"\n")
        if udev is not None:
            lines = "".join(f"E:{key}={value}\n" for key, value in udev.items())
            minor = (bus - 1) * 128 + device - 1
            (self.udev / f"data/c189:{minor}").write_text(f"I:1\n{lines}G:seat\n")
        return directory

    def node(self, kind: str, name: str, below: Path, **files: str) -> Path:
        """A block device, network interface or tty below the first interface of a device."""
        directory = below / f"{below.name}:1.0/host0/{kind}/{name}"
        directory.mkdir(parents=True)
        (self.sys / "class" / kind).mkdir(parents=True, exist_ok=True)
        (self.sys / "class" / kind / name).symlink_to(directory)
        for file, value in files.items():
            (directory / file).write_text(f"{value}\n")
        return directory
