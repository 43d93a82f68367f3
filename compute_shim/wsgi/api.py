# SPDX-License-Identifier: Apache-2.0
"""The API for a WSGI server: ``compute_shim.wsgi.api:application``.

Configuration files are those of ``OS_USB_SHIM_CONFIG_FILES`` (separated by semicolons), else
``/etc/usb-shim/usb-shim.conf``.
"""

from __future__ import annotations

import os
from typing import Any

from compute_shim.cmd import native_threads  # noqa: F401  before all that follow

# isort: split
from oslo_log import log

from compute_shim import conf as configuration
from compute_shim import rpc
from compute_shim.api import deploy
from compute_shim.conf import database, nova
from compute_shim.db.api import Database
from compute_shim.nova import Nova
from compute_shim.nudger import Nudger

_QUIET = ["oslo_db.sqlalchemy.exc_filters=ERROR", "oslo_db.api=CRITICAL"]


def init_application() -> Any:
    """The application, with nothing connected yet: the WSGI server may still fork.

    :raises oslo_config.cfg.Error: a file is missing, or an option that is needed is not set
    """
    files = os.environ.get("OS_USB_SHIM_CONFIG_FILES", "").split(";")
    conf = configuration.load(f"--config-file={file.strip()}" for file in files if file.strip())
    database.register(conf)
    nova.register(conf)
    # It logs a traceback of what we log a line of.
    conf.set_default("default_log_levels", [*log.get_default_log_levels(), *_QUIET])
    log.setup(conf, configuration.PROJECT)
    db = Database(conf, patience=conf.api.request_timeout / 3)
    agents = rpc.AgentClient(rpc.transport(conf), conf.upgrade_levels.agent)
    return deploy.deploy(conf, db, Nova(conf), Nudger(db, agents))


application = init_application()
