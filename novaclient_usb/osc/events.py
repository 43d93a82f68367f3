# SPDX-License-Identifier: Apache-2.0
"""``openstack usb event`` and ``openstack usb device event``"""

from __future__ import annotations

import argparse

from novaclient_usb import commands
from novaclient_usb.osc import base

_COLUMNS = {
    "Time": "created_at",
    "Cause": "cause",
    "State": "state",
    "Reason": "state_reason",
    "Server ID": "server_id",
    "User ID": "user_id",
    "Request ID": "request_id",
}
_MORE_COLUMNS = {
    "ID": "id",
    "Cause Code": "cause_code",
    "Reason Code": "reason_code",
    "Project ID": "project_id",
}
_OPERATORS_COLUMNS = {"Host": "host", "Actor Project ID": "actor_project_id"}


class _ListEvent(base.Lister):
    """A command that lists events."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--since",
            metavar="<time>",
            help="List only events since this time, for example 2026-01-31T12:00:00Z",
        )
        base.add_limit(parser)
        parser.add_argument("--long", action="store_true", help="List additional fields in output")
        return parser


class ListDeviceEvent(_ListEvent):
    """List the history of a USB device, latest first"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument("device", metavar="<device>", help=commands.DEVICE_HELP)
        return parser

    def take_action(self, args: argparse.Namespace) -> base.Table:
        """Print the events."""
        events = self.usb.devices.events(self.finder().find_id(args.device), args.since, args.limit)
        if args.long:
            return base.rows(events, _COLUMNS | _MORE_COLUMNS, _OPERATORS_COLUMNS)
        return base.rows(events, _COLUMNS)


class ListEvent(_ListEvent):
    """List the history of USB devices, latest first"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--device", metavar="<device>", help="List only events of this device (ID)")
        base.add_server(parser, optional="List only events of this server")
        base.add_project(parser, "List only events from the period in which this project held the device")
        return parser

    def take_action(self, args: argparse.Namespace) -> base.Table:
        """Print the events."""
        events = self.usb.events.list(
            device_id=args.device,
            server_id=self.server_id(args) if args.server else None,
            project_id=self.project_id(args),
            since=args.since,
            limit=args.limit,
        )
        columns = {"Time": "created_at", "Device ID": "device_id", "Device": "device_name", **_COLUMNS}
        if args.long:
            return base.rows(events, columns | _MORE_COLUMNS, _OPERATORS_COLUMNS)
        return base.rows(events, columns)
