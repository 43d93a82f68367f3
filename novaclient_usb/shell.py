# SPDX-License-Identifier: Apache-2.0
"""``nova usb-*``: novaclient makes a command of each ``do_*`` function here (novaclient/shell.py)."""

from __future__ import annotations

import argparse
import shlex
import sys
import types
from collections.abc import Callable
from typing import Any

from keystoneauth1 import exceptions
from novaclient import utils
from novaclient.v2 import client as nova_client

from novaclient_usb import ReasonCode, client, durations, names

# What a server may get in line for.
_WORTH_WAITING = (ReasonCode.DEVICE_TAKEN, ReasonCode.KIND_NOT_FREE, ReasonCode.QUEUED_FOR_OTHERS)


def _duration(text: str) -> int:
    try:
        return durations.seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


_server = utils.arg("server", metavar="<server>", help="Name or ID of server.")
_device = utils.arg(
    "device",
    metavar="<device>",
    help="ID, name, vendor:product, serial number or BUS:DEV (as lsusb prints it) of a USB device.",
)


@utils.arg(
    "--server",
    metavar="<server>",
    help="Only the devices of this server's host, and those that the server has. Name or ID of server.",
)
@utils.arg("--host", metavar="<host>", help="Only the devices of this compute host. (Admin only)")
@utils.arg(
    "--state",
    metavar="<state>",
    help="Only devices in this state: available, attaching, attached, waiting, detaching, failed or"
    " unavailable.",
)
def do_usb_list(cs: nova_client.Client, args: argparse.Namespace) -> None:
    """List the USB devices that you may see."""
    server_id = utils.find_resource(cs.servers, args.server).id if args.server else None
    devices = _client(cs).devices.list(server_id=server_id, host=args.host, state=args.state)
    devices.sort(key=lambda device: (device.get("host") or "", device["bus"] or 0, device["device"] or 0))
    columns = ["ID", "Device", "Serial", "State", "Server", "Reason"]
    if any("host" in device for device in devices):
        columns.append("Host")
    rows = [
        types.SimpleNamespace(
            id=device["id"],
            device=_encodable(names.lsusb_line(device)),
            serial=_encodable(device["serial"] or None),
            state=device["state"],
            server=device["server_id"],
            reason=_encodable(device["state_reason"]),
            host=device.get("host"),
        )
        for device in devices
    ]
    utils.print_list(rows, columns)


@_device
def do_usb_show(cs: nova_client.Client, args: argparse.Namespace) -> None:
    """Show details about a USB device."""
    devices = _client(cs).devices.list()
    _print_properties(names.find_device(devices, args.device, "'nova usb-list' lists what there is."))


@_device
def do_usb_events(cs: nova_client.Client, args: argparse.Namespace) -> None:
    """Show what happened to a USB device, the latest first."""
    usb = _client(cs)
    device = names.find_device(usb.devices.list(), args.device, "'nova usb-list' lists what there is.")
    rows = [
        types.SimpleNamespace(
            at=event["created_at"],
            cause=event["cause"],
            state=event["state"],
            reason=_encodable(event["state_reason"]),
            server=event["server_id"],
            user=event["user_id"],
            request=event["request_id"],
        )
        for event in usb.devices.events(device["id"])
    ]
    # As they come: `sortby_index` would order them by time, in which one second may hold several.
    utils.print_list(rows, ["At", "Cause", "State", "Reason", "Server", "User", "Request"], sortby_index=None)


@utils.arg(
    "--wait",
    action="store_true",
    default=False,
    help="Report the progress until the server has the device.",
)
@utils.arg(
    "--for",
    dest="lease",
    type=_duration,
    metavar="<time>",
    help="Take the device back after this time, for example 90m, 2h or 7d.",
)
@utils.arg(
    "--queue",
    action="store_true",
    default=False,
    help="If another server has the device, or those of the kind, get in line for it.",
)
@_server
@utils.arg(
    "device",
    metavar="<device>",
    help="ID, name, vendor:product, serial number or BUS:DEV (as lsusb prints it) of a USB device, or the"
    " kind of which to take one that is free.",
)
def do_usb_attach(cs: nova_client.Client, args: argparse.Namespace) -> None:
    """Attach a USB device of the compute host to a server."""
    usb = _client(cs)
    server = utils.find_resource(cs.servers, args.server)
    device_id, kind = _wanted(usb, server.id, args)
    try:
        device = usb.attachments.create(server.id, device_id, kind, args.lease)["device"]
    except exceptions.Conflict as error:
        if not args.queue or client.reason_code(error) not in _WORTH_WAITING:
            raise
        _print_properties(usb.queue.join(server.id, device_id, kind, args.lease))
        return
    if args.wait:
        device = _watch("attaching", usb.attachments.wait_attached, server.id, device["id"])
    _print_properties(
        {
            "device": names.lsusb_line(device),
            "device_id": device["id"],
            **{key: device[key] for key in ("server_id", "state", "state_reason")},
        }
    )


@utils.arg(
    "--wait",
    action="store_true",
    default=False,
    help="Report the progress until the server no longer has the device.",
)
@_server
@_device
def do_usb_detach(cs: nova_client.Client, args: argparse.Namespace) -> None:
    """Detach a USB device from a server, or give up one that it waits for."""
    usb = _client(cs)
    server = utils.find_resource(cs.servers, args.server)
    own = [device for device in usb.devices.list(server_id=server.id) if device["server_id"] == server.id]
    device = names.find_device(
        own,
        args.device,
        "The server has no such device;"
        f" 'nova usb-list --server {shlex.quote(args.server)}' shows which it has.",
    )
    usb.attachments.delete(server.id, device["id"])
    if args.wait:
        _watch("detaching", usb.attachments.wait_detached, server.id, device["id"])


def _wanted(usb: client.Client, server_id: str, args: argparse.Namespace) -> tuple[str | None, str | None]:
    """The id of the device, or the kind, that is to be attached.

    A kind goes before devices, whose strings may be made to deceive.
    """
    kinds = usb.kinds.list(server_id=server_id) if names.may_be_kind(args.device) else []
    if args.device in [kind["name"] for kind in kinds]:
        return None, args.device
    device = names.find_device(
        usb.devices.list(server_id=server_id),
        args.device,
        f"'nova usb-list --server {shlex.quote(args.server)}' lists the devices of its host.",
    )
    return device["id"], None


def _client(cs: nova_client.Client) -> client.Client:
    """The client of our service, as the same user at the same cloud."""
    # What novaclient does itself to reach Glance and Neutron changes its own adapter, and sends our calls
    # to Nova under --os-endpoint-override.
    nova = cs.client
    return client.from_session(
        nova.session,
        auth=nova.auth,
        interface=nova.interface,
        region_name=nova.region_name,
        global_request_id=nova.global_request_id,
    )


def _watch(action: str, wait: Callable[..., Any], server_id: str, device_id: str) -> Any:
    """Wait, and show it as novaclient shows waiting for a server (`novaclient.v2.shell._poll_for_status`)."""

    def show(device: dict[str, Any]) -> None:
        print(f"\rUSB device {action}...", end="", flush=True)

    print()
    try:
        result = wait(server_id, device_id, progress=show)
    finally:
        print()
    print("Finished")
    return result


def _print_properties(properties: dict[str, Any]) -> None:
    """A table of properties and values."""
    # Not `utils.print_dict`: a device could forge rows of it, for it breaks a value wherever it holds a
    # backslash and an n.
    rows = [
        types.SimpleNamespace(property=key, value=_encodable(value))
        for key, value in sorted(properties.items())
    ]
    utils.print_list(rows, ["Property", "Value"])


def _encodable(value: Any) -> Any:
    """The value; of a text what the terminal's encoding can express.

    Otherwise one device with a foreign name would keep a Latin-1 terminal from listing any.
    """
    if not isinstance(value, str):
        return value
    encoding = sys.stdout.encoding or "utf-8"
    return value.encode(encoding, "replace").decode(encoding)
