# SPDX-License-Identifier: Apache-2.0
"""``nova usb-*``: novaclient makes a command of each ``do_*`` function here (novaclient/shell.py)."""

from __future__ import annotations

import argparse
import shlex
import sys
import types
from collections.abc import Callable
from typing import Any

from novaclient import exceptions, utils
from novaclient.v2 import client as nova_client

from novaclient_usb import client, commands, names

_HOW_TO_LIST = "'nova usb-list' lists the devices."

_server = utils.arg("server", metavar="<server>", help="Name or ID of server.")
_device = utils.arg("device", metavar="<device>", help=f"{commands.DEVICE_HELP}.")
_wait = utils.arg(
    "--wait",
    action="store_true",
    default=False,
    help="Wait for the operation to complete.",
)
_timeout = utils.arg(
    "--timeout",
    # ``timeout`` is nova's own, for one request.
    dest="wait_timeout",
    metavar="<seconds>",
    type=commands.positive,
    help=f"Maximum number of seconds to wait, with --wait (default: {client.TIME_LIMIT:g}).",
)


@utils.arg(
    "--server",
    metavar="<server>",
    help="List only devices on this server's host and devices attached to the server. Name or ID of server.",
)
@utils.arg(
    "--transport",
    choices=commands.TRANSPORTS,
    metavar="<where>",
    help=f"{commands.TRANSPORT_HELP}. Requires --server.",
)
@utils.arg("--host", metavar="<host>", help="List only devices of this compute host. (Admin only)")
@utils.arg(
    "--state",
    metavar="<state>",
    help="List only devices in this state: available, attaching, attached, waiting, detaching, failed or"
    " unavailable.",
)
def do_usb_list(cs: nova_client.Client, args: argparse.Namespace) -> None:
    """List USB devices."""
    if args.transport is not None and not args.server:
        raise exceptions.CommandError("--transport requires --server.")
    server_id = _find_server(cs, args.server).id if args.server else None
    devices = commands.list_devices(
        _client(cs), args.host, server_id=server_id, transport=args.transport, state=args.state
    )
    devices.sort(key=commands.place)
    columns = ["ID", "Device", "Serial", "State", "Server", "Reason"]
    if args.transport is not None:
        columns.append("Other Host")
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
            other_host=device.get("other_host"),
            host=device.get("host"),
        )
        for device in devices
    ]
    utils.print_list(rows, columns)


@_device
def do_usb_show(cs: nova_client.Client, args: argparse.Namespace) -> None:
    """Show details about a USB device."""
    _print_properties(commands.Finder(_client(cs), _HOW_TO_LIST).find(args.device))


@_device
def do_usb_events(cs: nova_client.Client, args: argparse.Namespace) -> None:
    """Show the history of a USB device, latest first."""
    usb = _client(cs)
    device_id = commands.Finder(usb, _HOW_TO_LIST).find_id(args.device)
    rows = [
        types.SimpleNamespace(
            **{"at_(utc)": event["created_at"]},
            cause=event["cause"],
            state=event["state"],
            reason=_encodable(event["state_reason"]),
            server=event["server_id"],
            user=event["user_id"],
            request=event["request_id"],
        )
        for event in usb.devices.events(device_id)
    ]
    # As they come: `sortby_index` would order them by time, in which one second may hold several.
    utils.print_list(
        rows, ["At (UTC)", "Cause", "State", "Reason", "Server", "User", "Request"], sortby_index=None
    )


@_wait
@_timeout
@utils.arg(
    "--for",
    dest="lease",
    type=commands.duration,
    metavar="<time>",
    help="Detach the device after this time, for example 90m, 2h or 7d.",
)
@utils.arg(
    "--queue",
    action="store_true",
    default=False,
    help="If the device or all devices of the kind are in use, add the server to the queue.",
)
@utils.arg("--transport", choices=commands.TRANSPORTS, metavar="<where>", help=f"{commands.TRANSPORT_HELP}.")
@_server
@utils.arg(
    "device",
    metavar="<device>",
    help=f"{commands.DEVICE_HELP}, or a kind to attach a free device of that kind.",
)
def do_usb_attach(cs: nova_client.Client, args: argparse.Namespace) -> None:
    """Attach a USB device on the compute host to a server."""
    _check_timeout(args)
    usb = _client(cs)
    server_id = _find_server(cs, args.server).id
    how = f"'nova usb-list --server {shlex.quote(args.server)}' lists the devices of its host."
    device_id, kind = commands.device_or_kind(usb, server_id, args.device, how, args.transport)
    attachment, entry = commands.attach_or_join(
        usb, server_id, device_id, kind, args.lease, args.queue, args.transport
    )
    if attachment is None:
        _print_properties(entry or {})
        _end(commands.WAITING if args.wait else 0)
        return
    device, status = attachment["device"], 0
    if args.wait:
        device, status = _watch("attaching", usb.attachments.wait_attached, args, server_id, device["id"])
    _print_properties(
        {
            "device": names.lsusb_line(device),
            "device_id": device["id"],
            **{key: device[key] for key in ("server_id", "state", "state_reason")},
        }
    )
    _end(status)


@_wait
@_timeout
@_server
@_device
def do_usb_detach(cs: nova_client.Client, args: argparse.Namespace) -> None:
    """Detach a USB device from a server, or cancel a pending attachment."""
    _check_timeout(args)
    usb = _client(cs)
    server_id = _find_server(cs, args.server).id
    how = f"'nova usb-list --server {shlex.quote(args.server)}' lists its devices."
    finder = commands.of_server(usb, server_id, f"The server has no such device. {how}")
    device_id = finder.find_id(args.device)
    usb.attachments.delete(server_id, device_id)
    if args.wait:
        _, status = _watch("detaching", usb.attachments.wait_detached, args, server_id, device_id)
        _end(status)


def _find_server(cs: nova_client.Client, name_or_id: str) -> Any:
    """A server of the project, else one of any project, which only admins may look for.

    :raises novaclient.exceptions.CommandError: there is none, or there are several
    """
    try:
        return utils.find_resource(cs.servers, name_or_id, wrap_exception=False)
    except exceptions.NotFound:
        pass
    except exceptions.NoUniqueMatch as error:
        raise exceptions.CommandError(str(error)) from None
    try:
        return utils.find_resource(cs.servers, name_or_id, all_tenants=True)
    except exceptions.Forbidden:
        raise exceptions.CommandError(f"No server with a name or ID of '{name_or_id}' exists.") from None


def _check_timeout(args: argparse.Namespace) -> None:
    if args.wait_timeout is not None and not args.wait:
        raise exceptions.CommandError("--timeout requires --wait.")


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


def _watch(action: str, wait: Callable[..., Any], args: argparse.Namespace, *ids: str) -> tuple[Any, int]:
    """Wait. The device then, and the exit code.

    :raises novaclient_usb.client.WaitFailed: the service gave up
    """
    try:
        with commands.Progress(action) as progress:
            return wait(*ids, time_limit=args.wait_timeout or client.TIME_LIMIT, progress=progress), 0
    except (client.Waiting, client.TimedOut) as error:
        print(f"ERROR ({type(error).__name__}): {error}", file=sys.stderr)
        return error.device, commands.exit_code(error)


def _end(status: int) -> None:
    """End ``nova`` with an exit code, if that is not 0."""
    if status:
        sys.exit(status)


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
    return commands.encodable(value) if isinstance(value, str) else value
