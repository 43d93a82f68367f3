# SPDX-License-Identifier: Apache-2.0
"""Tells agents that the intent for a device changed, without anybody waiting for the message bus."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from oslo_db import exception as db_exception
from oslo_log import log
from sqlalchemy import exc as sqlalchemy_exception

from compute_shim import rpc
from compute_shim.db import queries
from compute_shim.db.api import Database

LOG = log.getLogger(__name__)

# While the bus is away. What is dropped, the agents learn at their next sync.
_LONGEST_QUEUE = 1000


class Nudger:
    """Sends one nudge after the other on a thread of its own.

    The thread starts with the first nudge: a WSGI server may fork before that.
    """

    def __init__(self, db: Database, agents: rpc.AgentClient) -> None:
        self._db = db
        self._agents = agents
        self._changed = threading.Condition()
        self._queue: dict[str, Mapping[str, Any]] = {}
        self._thread: threading.Thread | None = None

    def nudge(self, device_id: str, context: Mapping[str, Any]) -> None:
        """Have the agent of a device's host told what is wanted of the device.

        :param context: of the request that changed it.
        """
        with self._changed:
            if len(self._queue) >= _LONGEST_QUEUE:
                LOG.warning(
                    "The message bus does not keep up: not notifying the agent of device %s", device_id
                )
                return
            self._queue[device_id] = context
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="nudger", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue)
                device_id = next(iter(self._queue))
                context = self._queue.pop(device_id)
            try:
                send(self._db, self._agents, device_id, context)
            except (db_exception.DBError, sqlalchemy_exception.SQLAlchemyError) as error:
                LOG.warning("Cannot notify the agent of device %s: %s", device_id, error)


def send(db: Database, agents: rpc.AgentClient, device_id: str, context: Mapping[str, Any]) -> None:
    """Tell the agent of a device's host what is wanted of the device now."""
    found = queries.claim_for_agent(db, device_id)
    if found is not None:
        host, version, claim = found
        agents.claim_changed(host, version, claim, context)
