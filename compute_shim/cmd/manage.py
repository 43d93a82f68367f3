# SPDX-License-Identifier: Apache-2.0
"""``usb-shim-manage``: commands for operators and deployment tools.

On a compute host:

usb-shim-manage devices                     list the plugged devices, and which rule decides on each
usb-shim-manage device-spec check           check the rules, and explain what they decide
usb-shim-manage shield remove               give the devices that are kept from the host back to it

Where the service is:

usb-shim-manage db sync                     bring the database's schema up to date
usb-shim-manage db version                  print the schema's revision
usb-shim-manage history purge [--days N]    delete old events
usb-shim-manage host delete HOST            delete a host that is down
usb-shim-manage claims release-absent       release claims of deleted servers that the conductor holds back
usb-shim-manage placement clean             delete what was created in Placement
"""

import argparse
import sys
from typing import Any

from compute_shim.cmd import extras

_NAME = "usb-shim-manage"

with extras.needed_by(_NAME, "service"):
    from oslo_config import cfg

    from compute_shim.agent import device_spec
    from compute_shim.cmd import manage_devices, program

# Those of `manage_service`.
_SERVICE_COMMANDS = ("db", "history", "host", "claims", "placement")


def _add_commands(subparsers: Any) -> None:
    manage_devices.add_commands(subparsers)
    try:
        # A compute host has none of its libraries.
        from compute_shim.cmd import manage_service
    except ModuleNotFoundError as error:
        _refuse_service_commands(subparsers, error)
    else:
        manage_service.add_commands(subparsers)


def _refuse_service_commands(subparsers: Any, missing: ModuleNotFoundError) -> None:
    def refuse(conf: cfg.ConfigOpts) -> None:
        with extras.needed_by(_NAME, "service"):
            raise missing

    for name in _SERVICE_COMMANDS:
        parser = subparsers.add_parser(name, help="not installed on this host", add_help=False)
        parser.add_argument("ignored", nargs=argparse.REMAINDER)
        parser.set_defaults(run=refuse)


def main() -> int:
    """Run the command."""
    command = cfg.SubCommandOpt("command", title="commands", handler=_add_commands)
    return program.run(
        _NAME,
        lambda conf: conf.command.run(conf),
        register=(_register, program.log_to_stderr),
        prepare=lambda conf: conf.register_cli_opt(command),
        refusals=(device_spec.InvalidDeviceSpec,),
    )


def _register(conf: cfg.ConfigOpts) -> None:
    """Register the options that only this command has."""
    register = getattr(conf.command, "register", None)
    if register is not None:
        register(conf)


if __name__ == "__main__":
    sys.exit(main())
