# SPDX-License-Identifier: Apache-2.0
"""The conductor's process: its RPC server and what it does from time to time."""

from __future__ import annotations

import threading
import uuid

import oslo_messaging
from futurist import periodics
from oslo_config import cfg
from oslo_log import log

from compute_shim import liveness, rpc
from compute_shim.conductor import nova_checks
from compute_shim.conductor.evidence import Witnesses
from compute_shim.conductor.manager import Manager
from compute_shim.conductor.server_sync import ServerSync
from compute_shim.db.api import Database
from compute_shim.db.leases import Lease
from compute_shim.nova import Nova
from compute_shim.nudger import Nudger

LOG = log.getLogger(__name__)

# Seconds for what is being done when we are stopped. What is cut off is repeated at the next sync.
_GRACE = 10
_LEASE = "server-sync"
# Seconds. Longer than the longest call of Nova ([nova] timeout), between two of which it is renewed.
_SHORTEST_LEASE = 60


def run(conf: cfg.ConfigOpts, stop: threading.Event) -> None:
    """Serve agents until the event is set.

    :raises oslo_config.cfg.Error: an option that is needed is not set
    """
    db = Database(conf)
    bus = rpc.transport(conf)
    server = rpc.server(bus, rpc.CONDUCTOR_TOPIC, conf.host, Manager(db))
    # Starting waits for the message bus, and must not keep us from being stopped.
    started = threading.Event()
    serving = threading.Thread(target=_serve, args=(server, started, stop), name="rpc", daemon=True)
    serving.start()
    sync = _server_sync(conf, db, bus)
    if sync is not None:
        periodic = periodics.PeriodicWorker(
            [(periodics.periodic(conf.conductor.deleted_server_interval)(sync), (), {})]
        )
        threading.Thread(target=periodic.start, name="periodic", daemon=True).start()
    stop.wait()
    LOG.info("Stopping")
    if sync is not None:
        # The database may be away.
        ending = threading.Thread(target=sync.stop, name="lease", daemon=True)
        ending.start()
        ending.join(_GRACE)
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


def _server_sync(conf: cfg.ConfigOpts, db: Database, bus: object) -> ServerSync | None:
    nova = Nova(conf)
    auth = nova.service_auth()
    if auth is None:
        LOG.warning("[nova] has no credentials: devices of deleted servers are not given back")
        return None
    interval = conf.conductor.deleted_server_interval
    # The name alone would let a conductor that was started anew go on with its predecessor's lease.
    holder = f"{conf.host[:200]} {uuid.uuid4()}"
    return ServerSync(
        db,
        Witnesses(db, nova, auth),
        Nudger(db, rpc.AgentClient(bus, conf.upgrade_levels.agent)),
        Lease(db, _LEASE, holder, max(_SHORTEST_LEASE, 3 * interval)),
        lambda: liveness.Window.now(conf),
        lambda: nova_checks.region_obstacle(nova, auth),
        interval,
    )
