# SPDX-License-Identifier: Apache-2.0
"""What ``nova usb-*`` and ``openstack`` have in common."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from typing import Any

from keystoneauth1 import exceptions

from novaclient_usb import ReasonCode, client, durations, names

#: Exit codes of commands that wait: the device is attached later, without another request; the time is up.
WAITING, TIMED_OUT = 3, 4

DEVICE_HELP = (
    "USB device (ID, name, vendor:product, serial number, port such as 1-4, or BUS:DEV as lsusb prints it)"
)

# What a server may get in line for.
_WORTH_WAITING = (ReasonCode.DEVICE_TAKEN, ReasonCode.KIND_NOT_FREE, ReasonCode.QUEUED_FOR_OTHERS)


def duration(text: str) -> int:
    """Seconds, of an argument such as ``2h``."""
    try:
        return durations.seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive(text: str) -> int:
    """A number above zero, of an argument."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return number


class Finder:
    """Finds devices by what people call them. The service is asked for all of them once at most.

    :param how_to_list: one sentence for the error, on how to see which devices there are
    :param fits: what to choose among, of those that are listed
    :param filters: of the list (`client.Devices.list`)
    """

    def __init__(
        self,
        usb: client.Client,
        how_to_list: str,
        fits: Callable[[dict[str, Any]], bool] = lambda device: True,
        **filters: Any,
    ):
        self._usb = usb
        self._how_to_list = how_to_list
        self._fits = fits
        self._filters = filters

    def find(self, wanted: str) -> dict[str, Any]:
        """The device that is called so.

        :raises names.DeviceNotFound: none is
        :raises names.AmbiguousDevice: several are
        """
        return self._usb.devices.get(wanted.lower()) if names.is_id(wanted) else self._by_name(wanted)

    def find_id(self, wanted: str) -> str:
        """The id of the device that is called so; an id is taken as it is.

        :raises names.DeviceNotFound: none is
        :raises names.AmbiguousDevice: several are
        """
        return wanted.lower() if names.is_id(wanted) else str(self._by_name(wanted)["id"])

    def _by_name(self, wanted: str) -> dict[str, Any]:
        return names.find_device(self._all, wanted, self._how_to_list)

    @functools.cached_property
    def _all(self) -> list[dict[str, Any]]:
        return [device for device in self._usb.devices.list(**self._filters) if self._fits(device)]


def of_server(usb: client.Client, server_id: str, how_to_list: str) -> Finder:
    """Finds devices that a server has."""
    return Finder(usb, how_to_list, lambda device: device["server_id"] == server_id, server_id=server_id)


def device_or_kind(
    usb: client.Client, server_id: str, wanted: str, how_to_list: str
) -> tuple[str | None, str | None]:
    """The id of a device on a server's host, or the kind, that is called so.

    A kind goes before devices, whose strings may be made to deceive.
    """
    kinds = usb.kinds.list(server_id=server_id) if names.may_be_kind(wanted) else []
    if wanted in [kind["name"] for kind in kinds]:
        return None, wanted
    return Finder(usb, how_to_list, server_id=server_id).find_id(wanted), None


def attach_or_join(
    usb: client.Client,
    server_id: str,
    device_id: str | None,
    kind: str | None,
    lease: int | None,
    queue: bool,
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Ask for a device. The attachment; or, if it is taken and `queue` is set, the place in line for it."""
    try:
        return usb.attachments.create(server_id, device_id, kind, lease), None
    except exceptions.Conflict as error:
        if not queue or client.reason_code(error) not in _WORTH_WAITING:
            raise
    return None, usb.queue.join(server_id, device_id, kind, lease)


def list_devices(usb: client.Client, host: str | None, **filters: Any) -> list[dict[str, Any]]:
    """The devices that fit.

    :raises keystoneauth1.exceptions.NotFound: there is no such host
    """
    found = usb.devices.list(host=host, **filters)
    if host is not None and not found:
        usb.hosts.get(host)
    return found


def place(device: dict[str, Any]) -> tuple[str, int, int]:
    """For sorting: devices of a host together, and those in the order of ``lsusb``."""
    return device.get("host") or "", device["bus"] or 0, device["device"] or 0


def exit_code(error: client.WaitFailed) -> int:
    """With which a command ends that has waited for this."""
    if isinstance(error, client.Waiting):
        return WAITING
    return TIMED_OUT if isinstance(error, client.TimedOut) else 1


class Progress:
    """Tells on a terminal, by stderr, how a wait gets on; nothing elsewhere.

    :param action: what is being done, for example ``attaching``
    """

    def __init__(self, action: str):
        self._action = action
        self._shown = False

    def __enter__(self) -> Progress:
        return self

    def __call__(self, device: dict[str, Any]) -> None:
        """Show the state of a device."""
        if sys.stderr.isatty():
            line = f"\rUSB device {self._action}: {device['state']:<11}"
            print(line, end="", file=sys.stderr, flush=True)
            self._shown = True

    def __exit__(self, *exc: object) -> None:
        if self._shown:
            print(file=sys.stderr)


def encodable(text: str) -> str:
    """Of a text what stdout can express.

    Otherwise one device with a foreign name would keep a Latin-1 terminal from listing any.
    """
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
