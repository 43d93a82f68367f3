# SPDX-License-Identifier: Apache-2.0
"""``openstack server ... usb device``"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from typing import Any

from osc_lib import exceptions

from novaclient_usb import client, commands, names
from novaclient_usb.osc import base


class _OfServer(base.UsbCommand):
    """A command about a server."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The arguments."""
        parser = super().get_parser(prog_name)
        base.add_server(parser)
        return parser


class _Waiting(_OfServer):
    """A command that may wait.

    It ends with 3 if the device is attached later, without another request, and with 4 if the time is up.
    """

    _status = 0

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--wait", action="store_true", help="Wait for the operation to complete")
        parser.add_argument(
            "--timeout",
            metavar="<seconds>",
            type=commands.positive,
            help=f"Maximum number of seconds to wait, with --wait (default: {client.TIME_LIMIT:g})",
        )
        return parser

    def run(self, args: argparse.Namespace) -> int:
        """The exit code."""
        if args.timeout is not None and not args.wait:
            raise exceptions.CommandError("--timeout requires --wait.")
        return super().run(args) or self._status

    def watch(self, action: str, wait: Callable[..., Any], args: argparse.Namespace, *ids: str) -> Any:
        """Wait. What then is the result, or a device that is not as it should be.

        :raises novaclient_usb.client.WaitFailed: the service gave up
        """
        try:
            with commands.Progress(action) as progress:
                return wait(*ids, time_limit=args.timeout or client.TIME_LIMIT, progress=progress)
        except (client.Waiting, client.TimedOut) as error:
            self.log.error("%s", error)
            self._status = commands.exit_code(error)
            return error.device


class AddUsbDevice(_Waiting, base.ShowOne):
    """Attach a USB device on the compute host to a server"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "device",
            metavar="<device>",
            help=f"{commands.DEVICE_HELP}, or a kind to attach a free device of that kind",
        )
        parser.add_argument(
            "--for",
            dest="lease",
            type=commands.duration,
            metavar="<time>",
            help="Detach the device after this time, for example 90m, 2h or 7d",
        )
        parser.add_argument(
            "--queue",
            action="store_true",
            help="If the device or all devices of the kind are in use, add the server to the queue",
        )
        parser.add_argument(
            "--transport", choices=commands.TRANSPORTS, metavar="<where>", help=commands.TRANSPORT_HELP
        )
        return parser

    def take_action(self, args: argparse.Namespace) -> base.Properties:
        """Attach it."""
        server_id = self.server_id(args)
        how = (
            f"'openstack usb device list --server {shlex.quote(args.server)}' lists the devices of its host."
        )
        device_id, kind = commands.device_or_kind(self.usb, server_id, args.device, how, args.transport)
        attachment, entry = commands.attach_or_join(
            self.usb, server_id, device_id, kind, args.lease, args.queue, args.transport
        )
        if attachment is None:
            self._status = commands.WAITING if args.wait else 0
            return base.properties(entry or {})
        device = attachment["device"]
        if args.wait:
            wait = self.usb.attachments.wait_attached
            device = self.watch("attaching", wait, args, server_id, attachment["device_id"])
        return base.properties(_flat(attachment | {"device": device}))


class RemoveUsbDevice(_Waiting):
    """Detach a USB device from a server, or cancel a pending attachment"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument("device", metavar="<device>", help=commands.DEVICE_HELP)
        return parser

    def take_action(self, args: argparse.Namespace) -> None:
        """Detach it."""
        server_id = self.server_id(args)
        device_id = _of_server(self.usb, server_id, args).find_id(args.device)
        self.usb.attachments.delete(server_id, device_id)
        if args.wait:
            self.watch("detaching", self.usb.attachments.wait_detached, args, server_id, device_id)


class ListServerUsbDevice(_OfServer, base.Lister):
    """List the USB devices of a server"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--long", action="store_true", help="List additional fields in output")
        return parser

    def take_action(self, args: argparse.Namespace) -> base.Table:
        """Print the table."""
        columns = {
            "Device ID": "device_id",
            "Device": "device",
            "Serial": "serial",
            "State": "state",
            "Reason": "state_reason",
            "Lease Ends": "lease_until",
        }
        more = {
            "Reason Code": "reason_code",
            "Since": "state_since",
            "Claimed Kind": "kind",
            "Transport": "transport",
            "Over Network": "over_network",
            "Port": "port",
            "Speed": "speed",
        }
        shown = [
            attachment["device"] | _flat(attachment)
            for attachment in self.usb.attachments.list(self.server_id(args))
        ]
        return base.rows(shown, columns | more if args.long else columns)


class SetServerUsbDevice(_OfServer, base.ShowOne):
    """Change the lease of a USB device"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument("device", metavar="<device>", help=commands.DEVICE_HELP)
        lease = parser.add_mutually_exclusive_group(required=True)
        lease.add_argument(
            "--for",
            dest="lease",
            type=commands.duration,
            metavar="<time>",
            help="Detach the device after this time from now, for example 90m, 2h or 7d",
        )
        lease.add_argument(
            "--no-end",
            action="store_const",
            const=None,
            dest="lease",
            help="Remove the end of the lease, or set the longest lease allowed",
        )
        return parser

    def take_action(self, args: argparse.Namespace) -> base.Properties:
        """Change it."""
        server_id = self.server_id(args)
        device_id = _of_server(self.usb, server_id, args).find_id(args.device)
        return base.properties(_flat(self.usb.attachments.update(server_id, device_id, args.lease)))


def _of_server(usb: client.Client, server_id: str, args: argparse.Namespace) -> commands.Finder:
    how = f"'openstack server usb device list {shlex.quote(args.server)}' lists its devices."
    return commands.of_server(usb, server_id, f"The server has no such device. {how}")


def _flat(attachment: dict[str, Any]) -> dict[str, Any]:
    """An attachment as a table of properties."""
    device = attachment["device"]
    return {
        "server_id": attachment["server_id"],
        "device_id": attachment["device_id"],
        "device": names.lsusb_line(device),
        "kind": attachment["kind"],
        # A service of an earlier version does not tell them.
        "transport": attachment.get("transport", "local"),
        "over_network": attachment.get("over_network", False),
        "lease_until": attachment["lease_until"],
        **{key: device[key] for key in ("state", "reason_code", "state_reason")},
    }
