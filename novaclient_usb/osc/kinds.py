# SPDX-License-Identifier: Apache-2.0
"""``openstack usb kind``"""

from __future__ import annotations

import argparse

from novaclient_usb.osc import base


class ListKind(base.Lister):
    """List USB device kinds and the number of free devices of each"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The arguments."""
        parser = super().get_parser(prog_name)
        base.add_server(parser, optional="Show the number of free devices on the host of this server")
        parser.add_argument("--long", action="store_true", help="List additional fields in output")
        return parser

    def take_action(self, args: argparse.Namespace) -> base.Table:
        """Print the table."""
        kinds = self.usb.kinds.list(server_id=self.server_id(args) if args.server else None)
        shown = [
            kind
            | {
                "on_host": sum(server["free"] for server in kind["servers"]),
                "servers": {server["server_id"]: server["free"] for server in kind["servers"]},
            }
            for kind in kinds
        ]
        columns = {"Name": "name", "Free": "free"}
        columns |= {"Free on Host": "on_host"} if args.server else {}
        columns |= {"Free by Server": "servers"} if args.long else {}
        return base.rows(shown, columns)
