# SPDX-License-Identifier: Apache-2.0
"""The conductor's process: its RPC server and its periodic tasks."""

from __future__ import annotations

import functools
import threading
import uuid
from collections.abc import Callable, Sequence

import futurist
from futurist import periodics
from keystoneauth1 import plugin as ks_plugin
from oslo_config import cfg
from oslo_db import options as db_options
from oslo_log import log
from oslo_messaging import opts as messaging_options

from compute_shim import bus, credentials, exception, liveness, metrics, notifications, rpc
from compute_shim.conductor import metrics as conductor_metrics
from compute_shim.conductor import nova_checks
from compute_shim.conductor.carrying import Carrying
from compute_shim.conductor.evidence import Witnesses
from compute_shim.conductor.lease_end import LeaseEnd
from compute_shim.conductor.line_end import LineEnd
from compute_shim.conductor.manager import Manager
from compute_shim.conductor.placement_sync import INTERVAL as PLACEMENT_INTERVAL
from compute_shim.conductor.placement_sync import PlacementSync
from compute_shim.conductor.server_sync import ServerSync
from compute_shim.conductor.serving import Serving
from compute_shim.conf import database
from compute_shim.daemon import CannotServe, Daemon
from compute_shim.db import history, readiness
from compute_shim.db.api import Database
from compute_shim.db.leases import Lease
from compute_shim.keystone import Keystone
from compute_shim.nova import Nova
from compute_shim.nudger import Nudger
from compute_shim.placement import Placement

LOG = log.getLogger(__name__)

# Calls that are answered at once, each with a connection to the database. With 64, as oslo.messaging has it,
# four conductors need more connections than MariaDB has, and a new cloud's agents wait longer, since Python
# runs one thread at a time (benchmarks/scale --sign-on).
_THREADS = 8
# Seconds for running calls to complete when we are stopped. The next sync repeats what is cut off.
_GRACE = 10
# Seconds between two attempts to reach a database that is down.
_DATABASE_INTERVAL = 5
_LEASE = "server-sync"
_HISTORY_LEASE = "history"
_DEVICE_LEASES = "device-leases"
_LINES = "lines"
_PLACEMENT = "placement"
# Seconds between two checks for expired leases of devices.
_LEASE_INTERVAL = 5
# Seconds between two deletions of old events.
_HISTORY_INTERVAL = 3600
# Seconds. Longer than the longest call of Nova ([nova] timeout), between two of which it is renewed.
_SHORTEST_LEASE = 60


def run(conf: cfg.ConfigOpts, daemon: Daemon) -> None:
    """Serve agents until the program is told to stop.

    :raises oslo_config.cfg.Error: an option that is needed is not set
    :raises CannotServe: the database or the message bus refuses us
    :raises compute_shim.db.readiness.Refused: the database's URL cannot be used
    """
    # We wait for the database ourselves, where we can be stopped and say which one it is.
    conf.set_override("max_retries", 0, group=database.GROUP)
    db_options.set_defaults(conf, max_pool_size=_THREADS)
    db = readiness.database(conf)
    transport = bus.connect(conf)
    notifications.start(conf, db)
    nudger = Nudger(db, rpc.AgentClient(transport, conf.upgrade_levels.agent))
    nova = Nova(conf)
    auth = nova.service_auth()
    witnesses = None if auth is None else Witnesses(db, nova, auth)
    window = functools.partial(liveness.Window.now, conf)

    def is_on(server_id: str, host: str) -> bool:
        return witnesses is not None and witnesses.is_on(server_id, host)

    serving = Serving(db, nudger, Keystone(conf).limits, conf.api.max_devices_per_server, window, is_on)
    carrying = Carrying(db, nudger, window, is_on)

    def news() -> None:
        serving.wake()
        carrying.wake()

    endpoint = rpc.server(transport, rpc.CONDUCTOR_TOPIC, conf.host, Manager(db, news, nudger.nudge))
    messaging_options.set_defaults(conf, executor_thread_pool_size=_THREADS)
    server = bus.RpcServer(endpoint, "agents", conf, daemon)
    sync, line_end = _of_servers(conf, db, nudger)
    placement_sync = _of_placement(conf, db, nudger)
    daemon.announce()
    metrics.serve(conf, conductor_metrics.registry(conf, db))

    def start() -> None:
        if _database_is_ready(conf, db, daemon):
            server.start()
            threading.Thread(target=serving.run, name="queue", daemon=True).start()
            threading.Thread(target=carrying.run, name="channels", daemon=True).start()
            of_servers = [task for task in (sync, line_end) if task is not None]
            _periodically(conf, db, nudger, of_servers, placement_sync)

    threading.Thread(target=start, name="start", daemon=True).start()
    daemon.wait()
    if sync is not None:
        _end(sync)
    server.finish(_GRACE)


def _periodically(
    conf: cfg.ConfigOpts,
    db: Database,
    nudger: Nudger,
    of_servers: Sequence[Callable[[], None]],
    placement_sync: Callable[[], None] | None,
) -> None:
    """Run the periodic tasks, forever. Each is done by one conductor at a time.

    :param of_servers: the tasks that look for deleted servers.
    :param placement_sync: None: nothing is offered to Nova's scheduler.
    """
    expiry = Lease(db, _HISTORY_LEASE, _holder(conf), _HISTORY_INTERVAL)

    @periodics.periodic(_HISTORY_INTERVAL, run_immediately=True)
    def expire() -> None:
        if expiry.acquire():
            history.expire(conf, db)

    turn = Lease(db, _DEVICE_LEASES, _holder(conf), _SHORTEST_LEASE)
    lease_end = LeaseEnd(db, nudger, turn, conf.lease.warn_before)
    tasks = [expire, periodics.periodic(_LEASE_INTERVAL, run_immediately=True)(lease_end)]
    tasks += [periodics.periodic(conf.conductor.deleted_server_interval)(task) for task in of_servers]
    if placement_sync is not None:
        tasks.append(periodics.periodic(PLACEMENT_INTERVAL, run_immediately=True)(placement_sync))
    executor = functools.partial(futurist.ThreadPoolExecutor, max_workers=len(tasks))
    periodics.PeriodicWorker([(task, (), {}) for task in tasks], executor_factory=executor).start()


def _holder(conf: cfg.ConfigOpts) -> str:
    """A new name for the holder of a lease.

    With the host's name alone, a conductor that was restarted would continue with its predecessor's lease.
    """
    return f"{conf.host[:200]} {uuid.uuid4()}"


def _end(sync: ServerSync) -> None:
    """Let another conductor take over immediately; the database may be down."""
    ending = threading.Thread(target=sync.stop, name="lease", daemon=True)
    ending.start()
    ending.join(_GRACE)


def _database_is_ready(conf: cfg.ConfigOpts, db: Database, daemon: Daemon) -> bool:
    """Wait until the database can be used; False if the program is told to stop first."""
    while not daemon.stopping.is_set():
        try:
            readiness.check(db)
            return True
        except readiness.Unusable as error:
            found = error
        text = readiness.explain(conf, found)
        if isinstance(found, readiness.Refused):
            daemon.fail(CannotServe(text))
            return False
        LOG.warning("%s Next try in %s s.", text, _DATABASE_INTERVAL)
        daemon.stopping.wait(_DATABASE_INTERVAL)
    return False


def _of_servers(
    conf: cfg.ConfigOpts, db: Database, nudger: Nudger
) -> tuple[ServerSync | None, LineEnd | None]:
    """The tasks that look for deleted servers, which query Nova."""
    nova = Nova(conf)
    auth = nova.service_auth()
    if auth is None:
        LOG.warning("[nova] has no credentials: devices of deleted servers are not given back")
        return None, None
    threading.Thread(target=_check_credentials, args=(nova, auth), name="nova", daemon=True).start()
    interval = conf.conductor.deleted_server_interval
    witnesses = Witnesses(db, nova, auth)

    def turn(name: str) -> Lease:
        return Lease(db, name, _holder(conf), max(_SHORTEST_LEASE, 3 * interval))

    def obstacle() -> str | None:
        return nova_checks.region_obstacle(nova, auth)

    sync = ServerSync(
        db, witnesses, nudger, turn(_LEASE), lambda: liveness.Window.now(conf), obstacle, interval
    )
    return sync, LineEnd(db, witnesses.is_gone, turn(_LINES), obstacle, interval)


def _of_placement(conf: cfg.ConfigOpts, db: Database, nudger: Nudger) -> PlacementSync | None:
    """The task that offers devices to Nova's scheduler, None without ``[placement] enabled``.

    :raises compute_shim.credentials.Unusable: credentials are missing
    """
    if not conf.placement.enabled:
        return None
    nova = Nova(conf)
    auth = nova.service_auth()
    if auth is None:
        raise credentials.Unusable(
            "[placement] enabled is true and [nova] auth_type is not set. Set the credentials of [nova], or"
            " enabled = false."
        )
    turn = Lease(db, _PLACEMENT, _holder(conf), _SHORTEST_LEASE)
    window = functools.partial(liveness.Window.now, conf)
    return PlacementSync(db, Placement(conf), nova, auth, nudger, turn, window)


def _check_credentials(nova: Nova, auth: ks_plugin.BaseAuthPlugin) -> None:
    """Log whether Nova accepts our credentials; agents are served in any case."""
    try:
        nova.compute_hosts(auth)
    except (exception.Unauthorized, exception.Forbidden):
        LOG.error(
            "Nova refuses the credentials of [nova]. Until they are corrected, devices of deleted servers are"
            " not released."
        )
    except exception.ApiError as error:
        LOG.warning("The credentials of [nova] cannot be checked now: %s", error)
