# SPDX-License-Identifier: Apache-2.0
"""What the commands of all nouns need: the client, names of servers and projects, and tables."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cliff import columns as cliff_columns
from openstack import exceptions as sdk_exceptions
from openstackclient.common import envvars
from openstackclient.identity import common as identity_common
from osc_lib import exceptions
from osc_lib.cli import format_columns
from osc_lib.command import command

from novaclient_usb import client, commands

#: Names of columns and the values below them, as `cliff.lister.Lister` and `cliff.show.ShowOne` take them.
Table = tuple[Sequence[str], Iterable[Sequence[Any]]]
Properties = tuple[Sequence[str], Sequence[Any]]


class Text(cliff_columns.FormattableColumn[str | None]):
    """A text that may have characters which the terminal cannot express."""

    def human_readable(self) -> str:
        """As much of it as the terminal can express."""
        return "" if self._value is None else commands.encodable(self._value)


class UsbCommand(command.Command):
    """A command of this plugin."""

    @property
    def usb(self) -> client.Client:
        """The client of our service."""
        return self.app.client_manager.usb_passthrough

    def finder(self) -> commands.Finder:
        """Finds devices among all that one may see."""
        return commands.Finder(self.usb, "'openstack usb device list' lists the devices.")

    def server_id(self, args: argparse.Namespace) -> str:
        """The id of the server that is named on the command line.

        :raises openstack.exceptions.NotFoundException: there is none
        """
        compute = self.app.client_manager.compute
        every = {"all_projects": True} if args.all_projects else {}
        return str(compute.find_server(args.server, ignore_missing=False, **every).id)

    def project_ids(self, wanted: Sequence[str], args: argparse.Namespace) -> list[str]:
        """The ids of projects that are named on the command line.

        :raises openstack.exceptions.NotFoundException: there is no such project
        """
        identity = self.app.client_manager.sdk_connection.identity
        within = {}
        if args.project_domain:
            within["domain_id"] = identity.find_domain(args.project_domain, ignore_missing=False).id

        def find(name: str) -> str:
            try:
                return str(identity.find_project(name, ignore_missing=False, **within).id)
            except sdk_exceptions.ForbiddenException:
                # Who may not look for projects gives an id.
                return name

        return [find(name) for name in wanted]

    def project_id(self, args: argparse.Namespace) -> str | None:
        """The id of the project that is named on the command line; None if none is."""
        return self.project_ids([args.project], args)[0] if args.project else None

    def for_each(self, verb: str, wanted: Sequence[str], do: Callable[[str], object]) -> None:
        """Do something with each, and go on after a failure.

        :param verb: what is done, for the error: ``delete``
        :raises osc_lib.exceptions.CommandError: some failed, which is logged
        """
        failed = 0
        for one in wanted:
            try:
                do(one)
            except Exception as error:
                failed += 1
                self.log.error("Failed to %s '%s': %s", verb, one, error)
        if failed:
            raise exceptions.CommandError(f"Failed to {verb} {failed} of {len(wanted)}.")


class Lister(UsbCommand, command.Lister):
    """A command that prints a table."""


class ShowOne(UsbCommand, command.ShowOne):
    """A command that prints the properties of one thing."""


def add_server(parser: argparse.ArgumentParser, *, optional: str | None = None) -> None:
    """Let a command take a server, of another project as well.

    :param optional: the help, if it is an option
    """
    if optional is None:
        parser.add_argument("server", metavar="<server>", help="Server (name or ID)")
    else:
        parser.add_argument("--server", metavar="<server>", help=f"{optional} (name or ID)")
    parser.add_argument(
        "--all-projects",
        action="store_true",
        default=envvars.boolenv("ALL_PROJECTS"),
        help="Look for the server in all projects (admin only) (can be specified using the ALL_PROJECTS"
        " envvar)",
    )


def add_project(parser: argparse.ArgumentParser, does: str) -> None:
    """Let a command take a project."""
    parser.add_argument("--project", metavar="<project>", help=f"{does} (admin only) (name or ID)")
    identity_common.add_project_domain_option_to_parser(parser)


def add_limit(parser: argparse.ArgumentParser) -> None:
    """Let a list be bounded."""
    parser.add_argument(
        "--limit", metavar="<limit>", type=commands.positive, help="Maximum number of entries to list"
    )


def rows(
    items: Iterable[Mapping[str, Any]], columns: Mapping[str, str], optional: Mapping[str, str] | None = None
) -> Table:
    """A table of what the service answered.

    :param columns: header -> key
    :param optional: columns that are there when the service tells it, which it does to admins
    """
    items = list(items)
    chosen = dict(columns)
    if optional and any(key in item for item in items for key in optional.values()):
        chosen |= optional
    return tuple(chosen), [[cell(item.get(key)) for key in chosen.values()] for item in items]


def properties(item: Mapping[str, Any]) -> Properties:
    """The properties of one thing that the service answered."""
    keys = sorted(item)
    return keys, [cell(item[key]) for key in keys]


def cell(value: Any) -> Any:
    """A value as people and programs shall see it."""
    if isinstance(value, str):
        return Text(value)
    if isinstance(value, list):
        return format_columns.ListColumn(value)
    if isinstance(value, dict):
        return format_columns.DictColumn(value)
    return value
