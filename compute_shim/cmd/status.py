# SPDX-License-Identifier: Apache-2.0
"""``usb-shim-status upgrade check``: whether this installation is ready for use."""

from __future__ import annotations

import sys
from collections.abc import Callable

from compute_shim.cmd import extras

_NAME = "usb-shim-status"

with extras.needed_by(_NAME, "service"):
    from compute_shim.cmd import native_threads  # noqa: F401  before all that follow

    # isort: split
    from oslo_config import cfg
    from oslo_log import log
    from oslo_upgradecheck import upgradecheck

    from compute_shim.bounded import Bounded
    from compute_shim.cmd import program
    from compute_shim.cmd.checks import database as database_checks
    from compute_shim.cmd.checks import hosts, keystone, message_bus, options
    from compute_shim.cmd.checks import nova as nova_checks
    from compute_shim.cmd.checks import placement as placement_checks
    from compute_shim.cmd.checks.results import Installation, found
    from compute_shim.conf import database, keystone_authtoken, nova, placement

LOG = log.getLogger(__name__)

# Seconds that one check may take; each peer has a few of them for one answer.
_PATIENCE = 10

# What is checked, by which function, and the option that names the peer.
_CHECKS = (
    ("Database", database_checks.check, "[database] connection"),
    ("Clocks", database_checks.check_clocks, "[database] connection"),
    ("Bus", message_bus.check, "[DEFAULT] transport_url"),
    ("Conductor", message_bus.check_conductor, "[DEFAULT] transport_url"),
    ("Keystone", keystone.check, "[keystone_authtoken] auth_url"),
    ("Agents", hosts.check_agents, "[database] connection"),
    ("Hosts", hosts.check_problems, "[database] connection"),
    ("Nova", nova_checks.check, "[nova] auth_url and endpoint_override"),
    ("Placement", placement_checks.check, "[placement] auth_url and endpoint_override"),
    ("Quota", keystone.check_quota, "[oslo_limit] auth_url"),
    ("Options", options.check, "the configuration files"),
    ("Policies", options.check_policies, "[oslo_policy] policy_file"),
)


class Checks(upgradecheck.UpgradeCommands):
    """Runs each of `_CHECKS`, whatever the result of those before it."""

    def __init__(self) -> None:
        self.installation: Installation
        self._bounded = Bounded(len(_CHECKS))
        self._upgrade_checks = tuple(
            (name, (Checks._ask, {"check": check, "peer": peer})) for name, check, peer in _CHECKS
        )

    def _ask(self, check: Callable[[Installation], upgradecheck.Result], peer: str) -> upgradecheck.Result:
        try:
            return self._bounded.run(lambda: check(self.installation), _PATIENCE)
        except TimeoutError:
            return found([f"There was no answer within {_PATIENCE} s. Check {peer}, and the network."])
        except Exception as error:
            LOG.exception("The check failed")
            return found([f"The check failed: {type(error).__name__}: {error}. Report this as a bug."])


def main() -> int:
    """Print what was found; the exit code is 0 for all well, 1 for warnings, 2 for failures."""
    checks = Checks()
    return program.run(
        _NAME,
        lambda conf: _check(conf, checks),
        register=(
            database.register,
            nova.register,
            placement.register,
            keystone_authtoken.register,
            program.log_to_stderr,
        ),
        prepare=lambda conf: upgradecheck.register_cli_options(conf, checks),
        failure=upgradecheck.Code.FAILURE,
    )


def _check(conf: cfg.ConfigOpts, checks: Checks) -> int:
    checks.installation = Installation(conf)
    # It reads --json there, and sets it in its own `main` only.
    upgradecheck.CONF = conf
    return upgradecheck.run(conf)


if __name__ == "__main__":
    sys.exit(main())
