# SPDX-License-Identifier: Apache-2.0
"""Tells agents that the intent for a device changed, without anybody waiting for the message bus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oslo_db import exception as db_exception
from oslo_log import log
from sqlalchemy import exc as sqlalchemy_exception

from compute_shim import request_ids, rpc
from compute_shim.background import Background
from compute_shim.db import intent
from compute_shim.db.api import Database

LOG = log.getLogger(__name__)


class Nudger:
    """Sends one nudge after the other in the background. Agents learn what is lost at their next sync."""

    def __init__(self, db: Database, agents: rpc.AgentClient) -> None:
        self._db = db
        self._agents = agents
        self._background = Background("nudger", self._send)

    def nudge(self, device_id: str, context: Mapping[str, Any]) -> None:
        """Have the agent of a device's host told what is wanted of the device.

        :param context: of the request that changed it.
        """
        if not self._background.put(device_id, context):
            LOG.warning("The message bus does not keep up: not notifying the agent of device %s", device_id)

    def _send(self, device_id: str, context: Mapping[str, Any]) -> None:
        request_ids.adopt(context)
        try:
            send(self._db, self._agents, device_id, context)
        except (db_exception.DBError, sqlalchemy_exception.SQLAlchemyError) as error:
            LOG.warning("Cannot notify the agent of device %s: %s", device_id, error)


def send(db: Database, agents: rpc.AgentClient, device_id: str, context: Mapping[str, Any]) -> None:
    """Tell the agents of a device's host and of the server's what is wanted of the device now."""
    for host, version, claim in intent.claims_for_agents(db, device_id):
        agents.claim_changed(host, version, claim, context)
