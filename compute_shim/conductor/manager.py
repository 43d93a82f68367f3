# SPDX-License-Identifier: Apache-2.0
"""The RPC methods that agents call (`compute_shim.rpc.ConductorClient`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import oslo_messaging

from compute_shim import rpc
from compute_shim.conductor import metrics, payloads
from compute_shim.db import queries, syncs
from compute_shim.db.api import Database


class Manager:
    """The only component that persists agent reports.

    :param news: called when a device may have become free.
    :param nudge: tells the agents concerned what is wanted of a device.
    """

    target = oslo_messaging.Target(version=rpc.CONDUCTOR_VERSION)

    def __init__(
        self,
        db: Database,
        news: Callable[[], None] = lambda: None,
        nudge: Callable[[str, Mapping[str, Any]], None] = lambda device_id, context: None,
    ) -> None:
        self._db = db
        self._news = news
        self._nudge = nudge

    @oslo_messaging.expected_exceptions(ValueError)
    @metrics.sync()
    def sync(
        self,
        context: dict[str, Any],
        host: str,
        hypervisor: str,
        version: str,
        devices: list[dict[str, Any]],
        problems: list[str] | None = None,
        servers: list[dict[str, Any]] | None = None,
        identified: bool = True,
        relay_address: str | None = None,
    ) -> list[dict[str, Any]]:
        """Record what an agent sees on its host; return the desired state of every known device there.

        A repeated report is not validated again.

        :param version: of the RPC that the agent speaks.
        :param servers: all servers that have a domain on the host, ``uuid`` and ``running`` of each; None:
            the agent cannot say now, or speaks RPC 1.0.
        :param identified: False: the agent does not know yet what is known of its host, so that what it sees
            is not recorded.
        :param relay_address: where other hosts reach its relays (RPC 1.4), None: it has none.
        :raises ValueError: that is no name of a host
        """
        host = payloads.host(host)
        digest = payloads.digest(hypervisor, version, devices, problems, servers, identified, relay_address)
        plugged = len(devices) if isinstance(devices, list) else 0
        claims = syncs.unchanged(self._db, host, digest, plugged)
        if claims is None:
            claims = queries.sync_host(
                self._db,
                host,
                payloads.text(hypervisor),
                payloads.text(version),
                payloads.devices(devices) if identified else None,
                payloads.problems(problems),
                payloads.servers(servers, version),
                digest,
                payloads.relay_address(relay_address),
            )
            self._news()
        return payloads.claims(claims, version)

    @oslo_messaging.expected_exceptions(ValueError)
    def report(self, context: dict[str, Any], host: str, outcomes: list[dict[str, Any]]) -> None:
        """Record the results of claims on a host.

        :raises ValueError: that is no name of a host
        """
        told = payloads.outcomes(outcomes)
        moved = queries.record_statuses(self._db, payloads.host(host), told)
        self._news()
        for device_id in moved:
            self._nudge(device_id, context)
        metrics.count_refusals(told)
