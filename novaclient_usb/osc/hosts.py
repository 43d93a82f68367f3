# SPDX-License-Identifier: Apache-2.0
"""``openstack usb host``"""

from __future__ import annotations

import argparse

from novaclient_usb.osc import base


class ListHost(base.Lister):
    """List compute hosts with a USB agent (admin only)"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--long", action="store_true", help="List additional fields in output")
        return parser

    def take_action(self, args: argparse.Namespace) -> base.Table:
        """Print the table."""
        columns = {"Host": "host", "State": "state", "Last Seen": "last_seen", "Problems": "problems"}
        more = {"Devices": "devices", "Hypervisor": "hypervisor", "Version": "version"}
        return base.rows(self.usb.hosts.list(), columns | more if args.long else columns)


class ShowHost(base.ShowOne):
    """Show details of a compute host with a USB agent (admin only)"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument("host", metavar="<host>", help="Compute host (name)")
        return parser

    def take_action(self, args: argparse.Namespace) -> base.Properties:
        """Print the properties."""
        return base.properties(self.usb.hosts.get(args.host))


class DeleteHost(base.UsbCommand):
    """Delete compute host(s) that are down, with their USB devices and claims (admin only)"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument("host", metavar="<host>", nargs="+", help="Compute host(s) (name)")
        return parser

    def take_action(self, args: argparse.Namespace) -> None:
        """Delete each of them."""
        self.for_each("delete", args.host, self.usb.hosts.delete)
