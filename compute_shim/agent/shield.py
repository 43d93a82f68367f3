# SPDX-License-Identifier: Apache-2.0
"""Shields offered devices from this host's drivers and automatic services.

Two measures are needed: drivers are unbound from a free device as soon as it is detected; and a udev rules
file lists the known devices, so that LVM, md, udisks, ModemManager and systemd ignore them while a driver is
bound: at boot, and while no agent runs. For measurements see doc/source/security/shield.rst.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from oslo_log import log

from compute_shim.agent import udev_rules
from compute_shim.objects import Device, Plugged

LOG = log.getLogger(__name__)

#: On the disk, not below /run: it must be there before the devices of a host that boots.
RULES = Path("/etc/udev/rules.d/10-usb-shim.rules")

_UDEV_SECONDS = 10


def reload_udev() -> None:
    """Reload the udev rules.

    :raises OSError: udevadm is not installed
    :raises subprocess.SubprocessError: it fails or times out
    """
    subprocess.run(["udevadm", "control", "--reload"], check=True, capture_output=True, timeout=_UDEV_SECONDS)


class Shield:
    """The shielded devices of this host, stored in the udev rules file. For one thread.

    :param offers: whether the rules of ``[usb] device_spec`` offer a device.
    """

    def __init__(
        self,
        offers: Callable[[Plugged], bool],
        *,
        rules: Path = RULES,
        sys: Path = Path("/sys"),
        reload: Callable[[], None] = reload_udev,
    ) -> None:
        self._offers = offers
        self._rules = rules
        self._usb = sys / "bus/usb"
        self._reload = reload
        self._shielded = udev_rules.read(rules)
        self._is_file_known = False

    def update(self, devices: Iterable[Device]) -> None:
        """Shield offered, free devices, and return devices that are no longer offered to the host.

        A device that the host uses is not changed.

        :param devices: all that are plugged in and offered, or known.
        """
        free = [device for device in devices if device.blocked is None]
        kept = [one for one in self._shielded if self._offers(one)]
        gone = [one for one in self._shielded if one not in kept]
        for device in free:
            self._take_drivers_off(device)
        self._remember(udev_rules.merged(kept, free))
        for one in gone:
            self._give_back(one)

    def remove(self) -> None:
        """Return all devices to the host."""
        gone = self._shielded
        self._remember([])
        for device in gone:
            self._give_back(device)

    def _remember(self, shielded: list[Plugged]) -> None:
        if self._is_file_known and shielded == self._shielded:
            return
        self._shielded, self._is_file_known = shielded, True
        try:
            if udev_rules.write(self._rules, shielded):
                self._reload()
        except (OSError, subprocess.SubprocessError) as error:
            LOG.warning("udev's rules for offered devices cannot be changed: %s", error)

    def _take_drivers_off(self, device: Device) -> None:
        for interface, driver in self._drivers(device.port):
            if driver == "usbfs":
                continue  # a guest has it
            # The driver's own file, so that what another program has bound meanwhile stays.
            if _written(self._usb / "drivers" / driver / "unbind", interface):
                LOG.info("The host's driver %s is off %s", driver, interface)

    def _give_back(self, device: Plugged) -> None:
        """Probe the host's drivers for the device in the port, if it is still that device."""
        if not self._is_in_place(device):
            return
        LOG.info("The host's drivers may have %s again, which is no longer offered", device.port)
        for interface in self._interfaces(device.port):
            _written(self._usb / "drivers_probe", interface)
        _written(self._usb / "devices" / device.port / "uevent", "change")

    def _is_in_place(self, device: Plugged) -> bool:
        directory = self._usb / "devices" / device.port
        try:
            found = [(directory / name).read_text().strip() for name in ("idVendor", "idProduct")]
        except OSError:
            return False
        return found == [device.vendor_id, device.product_id]

    def _interfaces(self, port: str) -> Collection[str]:
        return sorted(path.name for path in (self._usb / "devices").glob(f"{port}:*"))

    def _drivers(self, port: str) -> list[tuple[str, str]]:
        """Each interface of the device in a port that has a driver, and the driver's name."""
        found = []
        for interface in self._interfaces(port):
            with contextlib.suppress(OSError):
                link = self._usb / "devices" / interface / "driver"
                found.append((interface, link.readlink().name))
        return found


def _written(file: Path, text: str) -> bool:
    """Write to a sysfs file; False if the device is gone or already has a driver."""
    try:
        file.write_text(text)
    except OSError as error:
        LOG.debug("%s does not take %s: %s", file, text, error)
        return False
    return True
