# SPDX-License-Identifier: Apache-2.0
"""Shared code of ``nova usb-*`` and ``openstack``."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from typing import Any

from keystoneauth1 import exceptions

from novaclient_usb import ReasonCode, client, durations, names

#: Exit codes of commands that wait: the device will be attached automatically; the wait timed out.
WAITING, TIMED_OUT = 3, 4

DEVICE_HELP = (
    "USB device (ID, name, vendor:product, serial number, port such as 1-4, or BUS:DEV as lsusb prints it)"
)

#: How a server may have a device.
TRANSPORTS = ("local", "network", "any")
TRANSPORT_HELP = (
    "Where the device may be: 'local' (default), on the host of the server; 'network' or 'any', also on"
    " another host, if it may be used over the network"
)

# Errors after which a server can join the queue.
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
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return number


class Finder:
    """Finds devices by name. The list of devices is requested at most once.

    :param how_to_list: a sentence for the error that says how to list the devices
    :param fits: selects from the listed devices
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
        """The device that matches.

        :raises names.DeviceNotFound: no device matches
        :raises names.AmbiguousDevice: several devices match
        """
        return self._usb.devices.get(wanted.lower()) if names.is_id(wanted) else self._by_name(wanted)

    def find_id(self, wanted: str) -> str:
        """The id of the device that matches; an id is returned unchanged.

        :raises names.DeviceNotFound: no device matches
        :raises names.AmbiguousDevice: several devices match
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
    usb: client.Client, server_id: str, wanted: str, how_to_list: str, transport: str | None = None
) -> tuple[str | None, str | None]:
    """The id of a matching device on a server's host, or the matching kind.

    Kinds take precedence, because the strings of devices are untrusted.

    :param transport: with ``network`` or ``any``, devices of other hosts match as well
    """
    kinds = usb.kinds.list(server_id=server_id) if names.may_be_kind(wanted) else []
    if wanted in [kind["name"] for kind in kinds]:
        return None, wanted
    return Finder(usb, how_to_list, server_id=server_id, transport=transport).find_id(wanted), None


def attach_or_join(
    usb: client.Client,
    server_id: str,
    device_id: str | None,
    kind: str | None,
    lease: int | None,
    queue: bool,
    transport: str | None = None,
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Request a device. Returns the attachment, or, if it is in use and `queue` is set, the queue entry."""
    try:
        return usb.attachments.create(server_id, device_id, kind, lease, transport), None
    except exceptions.Conflict as error:
        if not queue or client.reason_code(error) not in _WORTH_WAITING:
            raise
    return None, usb.queue.join(server_id, device_id, kind, lease, transport)


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
    """The exit code of a command for a failed wait."""
    if isinstance(error, client.Waiting):
        return WAITING
    return TIMED_OUT if isinstance(error, client.TimedOut) else 1


class Progress:
    """Shows the progress of a wait on stderr, if that is a terminal.

    :param action: the operation, for example ``attaching``
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
    """The text with ``?`` for characters that the encoding of stdout lacks.

    Otherwise a Latin-1 terminal could not list any devices if one name has other characters.
    """
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
