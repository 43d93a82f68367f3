# SPDX-License-Identifier: Apache-2.0
"""``usb-shim-status upgrade check``: is this installation ready to be used?"""

import sys

from compute_shim.cmd import extras

_NAME = "usb-shim-status"

with extras.needed_by(_NAME, "service"):
    from compute_shim.cmd import native_threads  # noqa: F401  before all that follow

    # isort: split
    from keystonemiddleware import opts as keystone_opts
    from oslo_config import cfg
    from oslo_db import exception as db_exception
    from oslo_upgradecheck import upgradecheck
    from sqlalchemy import exc as sqlalchemy_exception

    from compute_shim import liveness, rpc
    from compute_shim.cmd import program
    from compute_shim.conductor import nova_checks
    from compute_shim.conf import database, nova
    from compute_shim.db import migrations, queries
    from compute_shim.db.api import Database
    from compute_shim.keystone import Keystone


class Checks(upgradecheck.UpgradeCommands):
    """Each method answers one question."""

    def __init__(self) -> None:
        self.conf: cfg.ConfigOpts

    def check_database(self) -> upgradecheck.Result:
        """The database answers and has the newest schema."""
        try:
            found = migrations.version(Database(self.conf))
        except (cfg.Error, db_exception.DBError, sqlalchemy_exception.SQLAlchemyError) as error:
            return _failure(f"The database cannot be used: {error}. Check [database] connection.")
        if found != migrations.head():
            return _failure(
                f"The schema of the database is at revision {found}, not {migrations.head()}."
                " Run usb-shim-manage db sync."
            )
        return _success()

    def check_keystone(self) -> upgradecheck.Result:
        """Clients without a token can be told where to get one."""
        if self.conf.keystone_authtoken.www_authenticate_uri:
            return _success()
        return _failure(
            "[keystone_authtoken] www_authenticate_uri is not set. Set it to Keystone's public URL."
        )

    def check_agents(self) -> upgradecheck.Result:
        """All agents are alive, and speak as we do."""
        try:
            known = queries.hosts(Database(self.conf))
        except (cfg.Error, db_exception.DBError, sqlalchemy_exception.SQLAlchemyError):
            return _warning("The agents are not known while the database cannot be used.")
        if not known:
            return _warning("No agents are registered. Start usb-shim-agent on the compute hosts.")
        up = liveness.Window.now(self.conf)
        down = [host.host for host in known if host.last_seen not in up]
        foreign = [f"{host.host} ({host.version})" for host in known if host.version != rpc.CONDUCTOR_VERSION]
        complaints = []
        if down:
            complaints.append(f"Down: {', '.join(down)}. Start usb-shim-agent there.")
        if foreign:
            complaints.append(
                f"Running an RPC version other than {rpc.CONDUCTOR_VERSION}: {', '.join(foreign)}."
                " Upgrade them."
            )
        return _warning(" ".join(complaints)) if complaints else _success()

    def check_hosts(self) -> upgradecheck.Result:
        """Nothing on the compute hosts waits for the operator."""
        try:
            known = queries.hosts(Database(self.conf))
        except (cfg.Error, db_exception.DBError, sqlalchemy_exception.SQLAlchemyError):
            return _warning("The hosts are not known while the database cannot be used.")
        complaints = [
            f"{host.host}: {problem}" for host in known for problem in (host.problems or "").splitlines()
        ]
        return _warning(" ".join(complaints)) if complaints else _success()

    def check_nova(self) -> upgradecheck.Result:
        """The Nova of [nova] is that of the agents' hosts."""
        try:
            found = nova_checks.check(self.conf, Database(self.conf))
        except (cfg.Error, db_exception.DBError, sqlalchemy_exception.SQLAlchemyError):
            return _warning("The hosts are not known while the database cannot be used.")
        if found.error:
            return _failure(found.error)
        return _warning(" ".join(found.warnings)) if found.warnings else _success()

    def check_quota(self) -> upgradecheck.Result:
        """Keystone has the limits of projects, if there are to be any."""
        try:
            problem = Keystone(self.conf).quota_problem()
        except cfg.Error as error:
            return _failure(f"The quota cannot be used: {error}")
        return _success() if problem is None else _failure(problem)

    _upgrade_checks = (
        ("Database", check_database),
        ("Keystone", check_keystone),
        ("Agents", check_agents),
        ("Hosts", check_hosts),
        ("Nova", check_nova),
        ("Quota", check_quota),
    )


def _success() -> upgradecheck.Result:
    return upgradecheck.Result(upgradecheck.Code.SUCCESS)


def _warning(details: str) -> upgradecheck.Result:
    return upgradecheck.Result(upgradecheck.Code.WARNING, details)


def _failure(details: str) -> upgradecheck.Result:
    return upgradecheck.Result(upgradecheck.Code.FAILURE, details)


def main() -> int:
    """Print what was found; the exit code is 0 for all well, 1 for warnings, 2 for failures."""
    checks = Checks()
    return program.run(
        _NAME,
        lambda conf: _check(conf, checks),
        register=(database.register, nova.register, _register_keystone, program.log_to_stderr),
        prepare=lambda conf: upgradecheck.register_cli_options(conf, checks),
        failure=upgradecheck.Code.FAILURE,
    )


def _register_keystone(conf: cfg.ConfigOpts) -> None:
    for group, options in keystone_opts.list_auth_token_opts():
        conf.register_opts(options, group=group)


def _check(conf: cfg.ConfigOpts, checks: Checks) -> int:
    checks.conf = conf
    # A database that is away is an answer, too.
    conf.set_override("max_retries", 1, group=database.GROUP)
    return upgradecheck.run(conf)


if __name__ == "__main__":
    sys.exit(main())
