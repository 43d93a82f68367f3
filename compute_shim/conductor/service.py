# SPDX-License-Identifier: Apache-2.0
"""The conductor's process: its RPC server and what it does from time to time."""

from __future__ import annotations

import threading

import oslo_messaging
from futurist import periodics
from oslo_config import cfg
from oslo_log import log

from compute_shim import liveness, notifications, rpc
from compute_shim.conductor.absent_servers import AbsentServers
from compute_shim.conductor.manager import Manager
from compute_shim.db import queries
from compute_shim.db.api import Database
from compute_shim.nova import Nova
from compute_shim.nudger import Nudger

LOG = log.getLogger(__name__)

# Seconds for what is being done when we are stopped. What is cut off is repeated at the next sync.
_GRACE = 10


def run(conf: cfg.ConfigOpts, stop: threading.Event) -> None:
    """Serve agents until the event is set.

    :raises oslo_config.cfg.Error: an option that is needed is not set
    """
    db = Database(conf)
    notifications.start(conf, db)
    bus = rpc.transport(conf)
    server = rpc.server(bus, rpc.CONDUCTOR_TOPIC, conf.host, Manager(db))
    # Starting waits for the message bus, and must not keep us from being stopped.
    started = threading.Event()
    serving = threading.Thread(target=_serve, args=(server, started, stop), name="rpc", daemon=True)
    serving.start()
    periodic = _periodic(conf, db, bus)
    if periodic is not None:
        threading.Thread(target=periodic.start, name="periodic", daemon=True).start()
    stop.wait()
    LOG.info("Stopping")
    if started.is_set():
        serving.join(_GRACE)


def _serve(
    server: oslo_messaging.MessageHandlingServer, started: threading.Event, stop: threading.Event
) -> None:
    server.start()
    started.set()
    LOG.info("Serving agents")
    stop.wait()
    server.stop()
    server.wait()


def _periodic(conf: cfg.ConfigOpts, db: Database, bus: object) -> periodics.PeriodicWorker | None:
    nova = Nova(conf)
    auth = nova.service_auth()
    if auth is None:
        LOG.warning("[nova] has no credentials: devices of deleted servers are not given back")
        return None
    interval = conf.conductor.deleted_server_interval
    nudger = Nudger(db, rpc.AgentClient(bus, conf.upgrade_levels.agent))
    look = AbsentServers(
        db, nova, auth, nudger, lambda: queries.hosts_up(db, liveness.Window.now(conf)), interval
    )
    return periodics.PeriodicWorker([(periodics.periodic(interval)(look), (), {})])
