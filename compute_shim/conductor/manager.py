# SPDX-License-Identifier: Apache-2.0
"""What agents ask of the conductor (`compute_shim.rpc.ConductorClient`)."""

from __future__ import annotations

from typing import Any

import oslo_messaging

from compute_shim import rpc
from compute_shim.conductor import records
from compute_shim.db import queries
from compute_shim.db.api import Database


class Manager:
    """The only writer of what agents tell."""

    target = oslo_messaging.Target(version=rpc.CONDUCTOR_VERSION)

    def __init__(self, db: Database) -> None:
        self._db = db

    @oslo_messaging.expected_exceptions(ValueError)
    def sync(
        self,
        context: dict[str, Any],
        host: str,
        hypervisor: str,
        version: str,
        devices: list[dict[str, Any]],
        problems: list[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Take what an agent sees on its host; answer what is wanted of every known device there.

        :param version: of the RPC that the agent speaks.
        :raises ValueError: that is no name of a host
        """
        claims = queries.sync_host(
            self._db,
            records.host(host),
            records.text(hypervisor),
            records.text(version),
            records.devices(devices),
            records.problems(problems),
        )
        return [records.claim(claim, version) for claim in claims]

    @oslo_messaging.expected_exceptions(ValueError)
    def report(self, context: dict[str, Any], host: str, outcomes: list[dict[str, Any]]) -> None:
        """Take what became of claims on a host.

        :raises ValueError: that is no name of a host
        """
        queries.judge_claims(self._db, records.host(host), records.outcomes(outcomes))
