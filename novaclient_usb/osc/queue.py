# SPDX-License-Identifier: Apache-2.0
"""``openstack usb queue``"""

from __future__ import annotations

import argparse

from osc_lib import exceptions

from novaclient_usb.osc import base


class ListQueue(base.Lister):
    """List queue entries for USB devices"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The arguments."""
        parser = super().get_parser(prog_name)
        base.add_server(parser, optional="List only entries of this server")
        base.add_project(parser, "List only entries of servers of this project")
        return parser

    def take_action(self, args: argparse.Namespace) -> base.Table:
        """Print the table."""
        entries = self.usb.queue.list(
            server_id=self.server_id(args) if args.server else None,
            project_id=self.project_id(args),
        )
        columns = {
            "ID": "id",
            "Place": "place",
            "Device ID": "device_id",
            "Kind": "kind",
            "Server ID": "server_id",
            "Since": "created_at",
            "Transport": "transport",
        }
        return base.rows(entries, columns)


class DeleteQueue(base.UsbCommand):
    """Delete queue entry(s) for USB devices"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument("entry", metavar="<entry>", nargs="+", help="Queue entry (ID)")
        return parser

    def take_action(self, args: argparse.Namespace) -> None:
        """Delete each of them."""
        servers = {entry["id"]: entry["server_id"] for entry in self.usb.queue.list()}

        def leave(entry_id: str) -> None:
            if entry_id not in servers:
                raise exceptions.CommandError(
                    "No such queue entry. 'openstack usb queue list' lists the entries."
                )
            self.usb.queue.leave(servers[entry_id], entry_id)

        self.for_each("delete", args.entry, leave)
