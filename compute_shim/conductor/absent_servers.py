# SPDX-License-Identifier: Apache-2.0
"""Looks after the claims of servers that are not where their device is plugged in.

Nova does not tell us of servers that are deleted, moved or shelved. What such a server leaves behind on a
host is a claim that waits, or of which a dead agent cannot speak; only those are looked into, so that a cloud
at rest asks Nova nothing.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence

from keystoneauth1 import plugin as ks_plugin
from oslo_log import log

from compute_shim import exception, nova
from compute_shim.db import models, queries
from compute_shim.db.api import Database
from compute_shim.nudger import Nudger
from compute_shim.objects import SERVER_ABSENT, ReasonCode

LOG = log.getLogger(__name__)


class AbsentServers:
    """Asks Nova, once at every call, about the servers that seem absent.

    :param auth: credentials that may see the servers of all projects.
    :param live_hosts: the hosts where agents are alive now.
    :param interval: seconds for which a claim must have stood still to be looked into.
    """

    def __init__(
        self,
        db: Database,
        nova_: nova.Nova,
        auth: ks_plugin.BaseAuthPlugin,
        nudger: Nudger,
        live_hosts: Callable[[], set[str]],
        interval: int,
    ) -> None:
        self._db = db
        self._nova = nova_
        self._auth = auth
        self._nudger = nudger
        self._live_hosts = live_hosts
        self._age = datetime.timedelta(seconds=interval)

    def __call__(self) -> None:
        live_hosts = self._live_hosts()
        rows = queries.doubtful_claims(self._db, self._age, live_hosts)
        try:
            servers = {
                server_id: self._server(server_id) for server_id in {row.instance_uuid for row in rows}
            }
            self._release([row for row in rows if servers[row.instance_uuid] is None])
        except exception.ApiError as error:
            LOG.warning("Cannot look for absent servers now: %s", error)
            return
        for row in rows:
            server = servers[row.instance_uuid]
            if server is not None and (row.reason_code in SERVER_ABSENT or row.host not in live_hosts):
                self._locate(row, server)

    def _server(self, server_id: str | None) -> nova.Server | None:
        try:
            return self._nova.server(self._auth, server_id or "")
        except exception.NotFound:
            return None

    def _release(self, rows: Sequence[models.Device]) -> None:
        """Give back the devices of servers that Nova does not know."""
        if not rows:
            return
        # To a user who sees one project only, the servers of all others look deleted.
        if not self._nova.sees_all_projects(self._auth):
            LOG.warning(
                "The user of [nova] may not list the servers of all projects: devices of deleted servers"
                " are not given back. Give it a role for which Nova allows that, for example admin."
            )
            return
        for row in rows:
            server_id = row.instance_uuid or ""
            if queries.give_up(self._db, row.id, server_id, cause=ReasonCode.SERVER_DELETED):
                LOG.info("Server %s is deleted: giving back device %s", server_id, row.id)
                self._nudger.nudge(row.id, {})

    def _locate(self, row: models.Device, server: nova.Server) -> None:
        """Say where a server is. An agent sees its own host only, where one that moved may have a domain."""
        if server.busy:
            return
        if not server.host_id:
            queries.wait_for_server(self._db, row, ReasonCode.SERVER_SHELVED)
        elif server.host_id != nova.host_id(server.project_id, row.host):
            queries.wait_for_server(self._db, row, ReasonCode.SERVER_ON_OTHER_HOST)
        elif row.reason_code in (ReasonCode.SERVER_ON_OTHER_HOST, ReasonCode.SERVER_SHELVED):
            queries.wait_for_server(self._db, row, ReasonCode.SERVER_OFF)
