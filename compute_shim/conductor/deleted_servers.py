# SPDX-License-Identifier: Apache-2.0
"""Gives back the devices of servers that were deleted.

Nova does not tell us. A server that is gone leaves its claims waiting, or failed; only those are looked
into, so that a cloud at rest asks Nova nothing.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from keystoneauth1 import plugin as ks_plugin
from oslo_log import log

from compute_shim import exception, rpc
from compute_shim.db import models, queries, states
from compute_shim.db.api import Database
from compute_shim.nova import Nova

LOG = log.getLogger(__name__)


class DeletedServers:
    """Looks once at every call for claims of servers that Nova no longer knows.

    :param auth: credentials that may see the servers of all projects.
    :param interval: seconds for which a claim must have stood still to be looked into.
    """

    def __init__(
        self, db: Database, nova: Nova, auth: ks_plugin.BaseAuthPlugin, agents: rpc.AgentClient, interval: int
    ) -> None:
        self._db = db
        self._nova = nova
        self._auth = auth
        self._agents = agents
        self._age = datetime.timedelta(seconds=interval)

    def __call__(self) -> None:
        rows = queries.unsettled_claims(self._db, self._age)
        try:
            self._release(rows)
        except exception.Refused as error:
            LOG.warning("Cannot look for deleted servers now: %s", error)

    def _release(self, rows: Sequence[models.Device]) -> None:
        gone = {server_id for server_id in {row.instance_uuid for row in rows} if self._is_gone(server_id)}
        if not gone:
            return
        # To a user who sees one project only, the servers of all others look deleted.
        if not self._nova.sees_all_projects(self._auth):
            LOG.warning(
                "The user of [nova] may not list the servers of all projects: devices of deleted servers"
                " are not given back. Give it a role for which Nova allows that, for example admin."
            )
            return
        for row in rows:
            if row.instance_uuid not in gone:
                continue
            if queries.give_up(self._db, row.id, row.instance_uuid, cause="server deleted"):
                LOG.info("Server %s is deleted: giving back device %s", row.instance_uuid, row.id)
                self._nudge(row.id)

    def _is_gone(self, server_id: str | None) -> bool:
        try:
            self._nova.server(self._auth, server_id or "")
        except exception.NotFound:
            return True
        return False

    def _nudge(self, device_id: str) -> None:
        row = queries.device(self._db, device_id)
        if row is not None:
            self._agents.claim_changed(row.host, states.claim_of(row))
