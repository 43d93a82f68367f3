# SPDX-License-Identifier: Apache-2.0
"""Have claims on a device fulfilled over the network where their servers are.

Those on one of a kind are `compute_shim.conductor.serving`'s: another device may take the place.

The agents say where a server runs; before anything is changed, Nova has to confirm it. A server that runs
nowhere leaves its claim as it is: the agents say why it waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

from oslo_log import log

from compute_shim.conductor import woken
from compute_shim.conductor.backoff import BackOff
from compute_shim.conductor.serving import Nudger
from compute_shim.db import channels, intent
from compute_shim.db.api import Database
from compute_shim.liveness import Window
from compute_shim.objects import ReasonCode

LOG = log.getLogger(__name__)

# Seconds between two looks for what no agent told this conductor.
_INTERVAL = 5


class Carrying:
    """Follows servers when woken, and periodically. Every conductor does so: a claim is changed only once.

    :param window: tells which agents are up now.
    :param is_on: whether Nova says that a server is on a host.
    """

    def __init__(
        self,
        db: Database,
        nudger: Nudger,
        window: Callable[[], Window],
        is_on: Callable[[str, str], bool],
    ) -> None:
        self._db = db
        self._nudger = nudger
        self._window = window
        self._is_on = is_on
        self._unconfirmed = BackOff(_INTERVAL)
        self._news = threading.Event()

    def wake(self) -> None:
        """A server may have moved."""
        self._news.set()

    def run(self) -> None:
        """Follow servers forever."""
        woken.run(self._news, self.follow, _INTERVAL, "look for servers that use devices over the network")

    def follow(self) -> None:
        """Have every claim fulfilled where its server is."""
        pending = {_key(move): move for move in channels.pending(self._db, self._window(), of_kinds=False)}
        self._unconfirmed.keep(pending.keys())
        for key, move in pending.items():
            if not self._unconfirmed.is_due(key):
                continue
            claim = move.claim
            if not move.reachable:
                intent.wait_for_server(self._db, claim, ReasonCode.NO_NETWORK_TRANSPORT)
                self._unconfirmed.no_news(key)
            elif not self._is_on(claim.instance_uuid or "", move.server_host):
                self._unconfirmed.no_news(key)
            elif channels.follow(self._db, claim, move.server_host):
                LOG.info(
                    "Server %s is on host %s: device %s of host %s follows it",
                    claim.instance_uuid,
                    move.server_host,
                    claim.id,
                    claim.host,
                )
                self._nudger.nudge(claim.id, {})


def _key(move: channels.Move) -> Hashable:
    return move.claim.id, move.claim.generation, move.server_host, move.reachable
