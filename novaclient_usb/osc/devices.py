# SPDX-License-Identifier: Apache-2.0
"""``openstack usb device``"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from openstackclient.identity import common as identity_common
from osc_lib import exceptions

from novaclient_usb import client, commands, names
from novaclient_usb.osc import base

_COLUMNS = {
    "ID": "id",
    "Device": "lsusb",
    "Serial": "serial",
    "State": "state",
    "Server ID": "server_id",
    "Reason": "state_reason",
}
_MORE_COLUMNS = {
    "Reason Code": "reason_code",
    "Since": "state_since",
    "Kind": "kind",
    "Port": "port",
    "Speed": "speed",
    "Class": "device_class",
    "Enabled": "enabled",
    "Description": "description",
}
_OPERATORS_COLUMNS = {"Host": "host"}
_MORE_OPERATORS_COLUMNS = {
    "Host": "host",
    "Project ID": "project_id",
    "Shared": "shared",
    "Shared With": "projects",
    "Rule": "rule",
}

STATES = ("available", "attaching", "attached", "waiting", "detaching", "failed", "unavailable")


class ListDevice(base.Lister):
    """List USB devices"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The arguments."""
        parser = super().get_parser(prog_name)
        base.add_server(
            parser, optional="List only devices on this server's host and devices attached to the server"
        )
        parser.add_argument(
            "--transport",
            choices=commands.TRANSPORTS,
            metavar="<where>",
            help=f"{commands.TRANSPORT_HELP} (requires --server)",
        )
        parser.add_argument("--host", metavar="<host>", help="List only devices of this host (admin only)")
        parser.add_argument(
            "--state", metavar="<state>", choices=STATES, help=f"List only devices in this state: {STATES}"
        )
        parser.add_argument("--kind", metavar="<kind>", help="List only devices of this kind")
        parser.add_argument(
            "--vendor-id", metavar="<vendor-id>", help="List only devices of this vendor, for example 0781"
        )
        parser.add_argument(
            "--product-id", metavar="<product-id>", help="List only devices with this product ID"
        )
        parser.add_argument("--serial", metavar="<serial>", help="List only devices with this serial number")
        base.add_project(parser, "List only devices that servers of this project have")
        base.add_limit(parser)
        parser.add_argument("--marker", metavar="<device>", help="List devices after this one (ID)")
        parser.add_argument("--long", action="store_true", help="List additional fields in output")
        return parser

    def take_action(self, args: argparse.Namespace) -> base.Table:
        """Print the table."""
        if args.transport is not None and not args.server:
            raise exceptions.CommandError("--transport requires --server.")
        devices = commands.list_devices(
            self.usb,
            args.host,
            server_id=self.server_id(args) if args.server else None,
            transport=args.transport,
            state=args.state,
            kind=args.kind,
            vendor_id=args.vendor_id,
            product_id=args.product_id,
            serial=args.serial,
            project_id=self.project_id(args),
            limit=args.limit,
            marker=args.marker,
        )
        if args.limit is None:
            devices.sort(key=commands.place)
        shown = [device | {"lsusb": names.lsusb_line(device)} for device in devices]
        columns = _COLUMNS if args.transport is None else _COLUMNS | {"Other Host": "other_host"}
        if args.long:
            return base.rows(shown, columns | _MORE_COLUMNS, _MORE_OPERATORS_COLUMNS)
        return base.rows(shown, columns, _OPERATORS_COLUMNS)


class _OneDevice(base.UsbCommand):
    """A command about one device."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument("device", metavar="<device>", help=commands.DEVICE_HELP)
        return parser


class ShowDevice(_OneDevice, base.ShowOne):
    """Show USB device details"""

    def take_action(self, args: argparse.Namespace) -> base.Properties:
        """Print the properties."""
        return base.properties(self.finder().find(args.device))


class ExplainDevice(_OneDevice, base.Lister):
    """Show the conditions for attaching a USB device, met and unmet"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The arguments."""
        parser = super().get_parser(prog_name)
        base.add_server(parser, optional="Show the conditions for attaching to this server")
        return parser

    def take_action(self, args: argparse.Namespace) -> base.Table:
        """Print the conditions."""
        server_id = self.server_id(args) if args.server else None
        explanation = self.usb.devices.explain(self.finder().find_id(args.device), server_id)
        columns = {
            "Condition": "condition",
            "Met": "met",
            "Reason": "state_reason",
            "Reason Code": "reason_code",
            "Note": "note",
        }
        return base.rows(explanation["conditions"], columns)


class _SomeDevices(base.UsbCommand):
    """A command that does the same with several devices."""

    #: What it does, for errors.
    what: str

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument("device", metavar="<device>", nargs="+", help=commands.DEVICE_HELP)
        return parser

    def take_action(self, args: argparse.Namespace) -> None:
        """Do it with each device."""
        finder = self.finder()
        act = self.action(args)
        self.for_each(self.what, args.device, lambda wanted: act(finder.find_id(wanted)))

    def action(self, args: argparse.Namespace) -> Any:
        """What to do with the id of a device."""
        raise NotImplementedError


class SetDevice(_SomeDevices):
    """Set USB device properties"""

    what = "set"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--description",
            metavar="<description>",
            help="Description, visible to users who see the device",
        )
        usable = parser.add_mutually_exclusive_group()
        usable.add_argument(
            "--enable",
            action="store_true",
            default=None,
            dest="enabled",
            help="Allow the device to be attached",
        )
        usable.add_argument(
            "--disable",
            action="store_false",
            default=None,
            dest="enabled",
            help="Do not allow the device to be attached; an existing attachment is kept",
        )
        sharing = parser.add_mutually_exclusive_group()
        sharing.add_argument(
            "--share", action="store_true", default=None, dest="shared", help="Share with all projects"
        )
        sharing.add_argument(
            "--no-share",
            action="store_false",
            default=None,
            dest="shared",
            help="Do not share with all projects; an existing attachment is kept",
        )
        parser.add_argument(
            "--project",
            metavar="<project>",
            action="append",
            default=[],
            help="Share with this project (name or ID) (repeat option to share with several projects)",
        )
        identity_common.add_project_domain_option_to_parser(parser)
        kind = parser.add_mutually_exclusive_group()
        kind.add_argument("--kind", metavar="<kind>", help="Kind of the device")
        kind.add_argument(
            "--no-kind", action="store_const", const="", dest="kind", help="Set the device to no kind"
        )
        return parser

    def action(self, args: argparse.Namespace) -> Any:
        """Change what is given."""
        changes = {
            key: value
            for key in ("description", "enabled", "shared", "kind")
            if (value := getattr(args, key)) is not None
        }
        projects = self.project_ids(args.project, args)
        return _change(self.usb, changes, projects, self.usb.devices.share)


class UnsetDevice(_SomeDevices):
    """Unset USB device properties"""

    what = "unset"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--description", action="store_true", help="Remove the description")
        parser.add_argument("--share", action="store_true", help="Restore the sharing of the host's rule")
        parser.add_argument(
            "--project",
            metavar="<project>",
            action="append",
            default=[],
            help="Stop sharing with this project; an existing attachment is kept (name or ID) (repeat"
            " option for several projects)",
        )
        identity_common.add_project_domain_option_to_parser(parser)
        parser.add_argument("--kind", action="store_true", help="Restore the kind of the host's rule")
        return parser

    def action(self, args: argparse.Namespace) -> Any:
        """Unset the given properties."""
        changes: dict[str, Any] = {"description": ""} if args.description else {}
        changes |= {"shared": None} if args.share else {}
        changes |= {"kind": None} if args.kind else {}
        projects = self.project_ids(args.project, args)
        return _change(self.usb, changes, projects, self.usb.devices.unshare)


def _change(
    usb: client.Client, changes: dict[str, Any], projects: list[str], share: Callable[[str, str], None]
) -> Callable[[str], None]:
    """What changes a device.

    :param share: with each of the projects, or no longer.
    :raises osc_lib.exceptions.CommandError: there is nothing to change
    """
    if not changes and not projects:
        raise exceptions.CommandError("No changes specified. Specify at least one option.")

    def change(device_id: str) -> None:
        if changes:
            usb.devices.update(device_id, **changes)
        for project_id in projects:
            share(device_id, project_id)

    return change


class DeleteDevice(_SomeDevices):
    """Delete USB device(s) that are no longer plugged in"""

    what = "delete"

    def action(self, args: argparse.Namespace) -> Any:
        """Delete it."""
        return self.usb.devices.delete


class ReleaseDevice(_SomeDevices):
    """Release USB device(s) that are held, or claimed on a host that is down"""

    what = "release"

    def action(self, args: argparse.Namespace) -> Any:
        """Release it."""
        return self.usb.devices.release
