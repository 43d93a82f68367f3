# SPDX-License-Identifier: Apache-2.0
"""The API for a WSGI server: ``compute_shim.wsgi.api:application``.

Configuration files are those of ``OS_USB_SHIM_CONFIG_FILES`` (separated by semicolons), else
``/etc/usb-shim/usb-shim.conf``.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from compute_shim.cmd import native_threads  # noqa: F401  before all that follow

# isort: split
from oslo_config import cfg
from oslo_log import log

from compute_shim import bus, credentials, notifications, rpc
from compute_shim.api import deploy
from compute_shim.cmd import program
from compute_shim.conf import database, keystone_authtoken, nova
from compute_shim.daemon import CannotServe, start_line
from compute_shim.db import readiness
from compute_shim.keystone import Keystone
from compute_shim.nova import Nova
from compute_shim.nudger import Nudger

LOG = log.getLogger(__name__)

_NAME = "usb-shim-api"
# gunicorn ends when a worker ends with this code; after others it starts the worker again, for ever
# (gunicorn/arbiter.py, WORKER_BOOT_ERROR).
_CANNOT_START = 3
_QUIET = ["oslo_db.sqlalchemy.exc_filters=ERROR", "oslo_db.api=CRITICAL"]


def init_application() -> Any:
    """The application, with nothing connected yet: the WSGI server may still fork.

    :raises SystemExit: it cannot start; stderr has the reason
    """
    files = os.environ.get("OS_USB_SHIM_CONFIG_FILES", "").split(";")
    arguments = [f"--config-file={file.strip()}" for file in files if file.strip()]
    read: list[str] = []
    try:
        conf = program.configure(_NAME, _REGISTER, arguments)
        read = program.configuration_files(conf)
        db = readiness.database(conf, patience=conf.api.request_timeout / 3)
        agents = rpc.AgentClient(bus.connect(conf), conf.upgrade_levels.agent)
        notifications.start(conf, db)
        _check_credentials(conf)
        application = deploy.deploy(conf, db, Nova(conf), Keystone(conf), Nudger(db, agents))
    except (cfg.Error, CannotServe, credentials.Unusable, readiness.Refused) as error:
        print(program.complaint(_NAME, error, read), file=sys.stderr, flush=True)
        raise SystemExit(_CANNOT_START) from None
    LOG.info("%s", start_line(_NAME, conf))
    return application


def _log_one_line(conf: cfg.ConfigOpts) -> None:
    """Have oslo.db not log a traceback of what the API logs a line of."""
    conf.set_default("default_log_levels", [*log.get_default_log_levels(), *_QUIET])


def _check_credentials(conf: cfg.ConfigOpts) -> None:
    """Make sure that there are some to validate tokens with; keystonemiddleware misses them at each call."""
    if credentials.load(conf, keystone_authtoken.GROUP) is None:
        raise CannotServe(
            f"[{keystone_authtoken.GROUP}] auth_type is not set, so no token can be validated. Set it to"
            " password, and the credentials of the service user."
        )


_REGISTER = (database.register, nova.register, keystone_authtoken.register, _log_one_line)


application = init_application()
