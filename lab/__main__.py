# SPDX-License-Identifier: Apache-2.0
"""The lab's command line.

python -m lab up | down | status                          the cloud, with its compute host usbhost1
python -m lab host start | stop [--host H]                a compute host by itself
python -m lab host run [--host H] -- COMMAND ...          run a command in it
python -m lab host devices [--host H]                     the lab's USB devices and where they are plugged in
python -m lab host plug | unplug | replug NAME [--host H] [--port PORT]
python -m lab guest usb SERVER                            what the guest itself sees, one device a line
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

import keystoneauth1.exceptions

import lab.cloud
from lab.cloud import compute_host, site
from lab.cloud.rest import Rest
from lab.cloud.timeline import LabError
from lab.guest import console
from lab.host import DEFAULT_NAME, Host, HostError, command

Command = Callable[[argparse.Namespace], int]


def _host_start(arguments: argparse.Namespace) -> int:
    host = Host(arguments.host)
    host.start()
    host.wait_ready()
    return 0


def _host_stop(arguments: argparse.Namespace) -> int:
    Host(arguments.host).stop()
    return 0


def _host_run(arguments: argparse.Namespace) -> int:
    streams = {command.STDOUT: sys.stdout.buffer, command.STDERR: sys.stderr.buffer}

    def output(kind: int, data: bytes) -> None:
        streams[kind].write(data)
        streams[kind].flush()

    return Host(arguments.host).stream(arguments.command, output)


def _host_devices(arguments: argparse.Namespace) -> int:
    for plugged in Host(arguments.host).devices():
        device = plugged.device
        place = f"port {plugged.port}" if plugged.port else "not plugged in"
        print(f"{device.name:<10} {device.usb_id}  {device.serial or '-':<12} {place}")
    return 0


def _host_plug(arguments: argparse.Namespace) -> int:
    Host(arguments.host).plug(arguments.name, arguments.port)
    return 0


def _host_unplug(arguments: argparse.Namespace) -> int:
    Host(arguments.host).unplug(arguments.name)
    return 0


def _host_replug(arguments: argparse.Namespace) -> int:
    Host(arguments.host).replug(arguments.name, arguments.port)
    return 0


def _guest_usb(arguments: argparse.Namespace) -> int:
    for device in console.usb_devices(compute_host.console(_server_id(arguments.server))):
        print(device)
    return 0


def _server_id(wanted: str) -> str:
    """The id of the server of that name, of any project."""
    listed = Rest(site.load(), "admin").compute.get("/servers", params={"all_tenants": "1"}).json()["servers"]
    found = [server["id"] for server in listed if wanted in (server["id"], server["name"])]
    if len(found) != 1:
        raise LabError(f"{len(found) or 'No'} servers are called {wanted}; there are: {_names(listed)}")
    return str(found[0])


def _names(servers: list[dict[str, str]]) -> str:
    return ", ".join(f"{server['name']} ({server['id']})" for server in servers) or "none"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lab", description="A cloud with real USB on this machine."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, text in (
        ("up", lab.cloud.up, "start the cloud; nothing happens if it is up"),
        ("down", lab.cloud.down, "stop it"),
        ("status", lab.cloud.status, "tell what runs"),
    ):
        commands.add_parser(name, help=text).set_defaults(run=lambda arguments, run=run: run())
    _add_host(commands.add_parser("host", help="a compute host"))
    _add_guest(commands.add_parser("guest", help="a server of the cloud"))
    return parser


def _add_host(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Command, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text)
        added.add_argument("--host", default=DEFAULT_NAME, help=f"which one (default: {DEFAULT_NAME})")
        added.set_defaults(run=run)
        return added

    add("start", _host_start, "start it by itself, without a cloud")
    add("stop", _host_stop, "switch it off")
    add("run", _host_run, "run a command in it").add_argument("command", nargs="+", metavar="COMMAND")
    add("devices", _host_devices, "list the lab's USB devices and where they are plugged in")
    add("unplug", _host_unplug, "pull out a device").add_argument("name", metavar="NAME")
    for name, run, text in (
        ("plug", _host_plug, "plug in a device"),
        ("replug", _host_replug, "pull out a device and plug it in again"),
    ):
        added = add(name, run, text)
        added.add_argument("name", metavar="NAME")
        added.add_argument("--port", metavar="PORT", help="port path, for example 9 or 7.3")


def _add_guest(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    usb = commands.add_parser("usb", help="what the guest itself sees: vid:pid serial product")
    usb.add_argument("server", metavar="SERVER", help="name or ID")
    usb.set_defaults(run=_guest_usb)


def main() -> int:
    """Run the command; returns the exit status."""
    arguments = _parser().parse_args()
    try:
        status: int = arguments.run(arguments)
    except LabError as error:
        print(error.explain(), file=sys.stderr)
        return 1
    except (HostError, OSError, keystoneauth1.exceptions.ClientException) as error:
        print(error, file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
