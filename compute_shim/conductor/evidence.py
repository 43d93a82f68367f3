# SPDX-License-Identifier: Apache-2.0
"""Collect what Nova and the agents know about the servers of claims in doubt.

Calls of Nova, as Nova 34 answers them: one for all nova-computes; one for each host with a claim in doubt,
which shows all its servers, running or not; and one to three for each server that is not among them, because
it has moved, is shelved or is gone. An error of one call says nothing of what it was to answer, and does not
stop the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from keystoneauth1 import plugin as ks_plugin
from oslo_log import log

from compute_shim import exception, nova, wire
from compute_shim.conductor.decision import Evidence, NovaSays
from compute_shim.db import absence, models, queries
from compute_shim.db.api import Database
from compute_shim.liveness import Window

LOG = log.getLogger(__name__)

_Value = TypeVar("_Value")

_NOWHERE: Mapping[str, str] = {}
# The first in which agents report the domains of their host.
_TELLS_DOMAINS: wire.Version = (1, 1)


@dataclasses.dataclass(frozen=True)
class _Testimony:
    """Nova's answers about servers, and the hosts that it knows."""

    servers: dict[str, nova.Server | NovaSays]
    hosts: set[str]


class Witnesses:
    """Queries Nova and the reports of agents.

    :param auth: credentials that may see the servers of all projects.
    """

    def __init__(self, db: Database, nova_: nova.Nova, auth: ks_plugin.BaseAuthPlugin) -> None:
        self._db = db
        self._nova = nova_
        self._auth = auth

    def evidence(
        self,
        claims: Sequence[models.Device],
        up: Window,
        alive: Callable[[], None],
        elsewhere: Mapping[str, str] = _NOWHERE,
    ) -> dict[str, Evidence]:
        """The evidence about the servers of claims, by device id.

        :param alive: is called between calls of Nova, each of which may take long; may raise.
        :param elsewhere: device id -> where the server is, if not on the device's host.
        """
        if not claims:
            return {}
        where = {claim.id: elsewhere.get(claim.id, claim.host) for claim in claims}
        testimony = self._ask(claims, where, alive)
        # Agent reports are read last: they must not be older than Nova's answers.
        hosts = {host.host: host for host in queries.hosts(self._db)}
        seen = absence.domains_seen(self._db, up, set(testimony.servers))

        def of(claim: models.Device) -> Evidence:
            host, server_id = hosts.get(where[claim.id]), claim.instance_uuid or ""
            return Evidence(
                nova=testimony.servers[server_id],
                knows_host=where[claim.id] in testimony.hosts,
                host_up=host is not None and host.last_seen in up,
                tells_domains=host is not None and wire.number(host.version) >= _TELLS_DOMAINS,
                domain_seen=server_id in seen,
            )

        return {claim.id: of(claim) for claim in claims}

    def _ask(
        self, claims: Sequence[models.Device], where: Mapping[str, str], alive: Callable[[], None]
    ) -> _Testimony:
        found: dict[str, nova.Server | NovaSays] = {}
        for host in sorted(set(where.values())):
            nothing: dict[str, nova.Server] = {}
            found |= _answer(partial(self._nova.servers_on, self._auth, host), nothing)
            alive()
        servers: dict[str, nova.Server | NovaSays] = {}
        unclear: nova.Server | NovaSays = NovaSays.UNCLEAR
        for server_id in sorted({claim.instance_uuid or "" for claim in claims}):
            if server_id not in found:
                found[server_id] = _answer(partial(self._one, server_id), unclear)
                alive()
            servers[server_id] = found[server_id]
        hosts: set[str] = set()
        if NovaSays.NO_RECORD in servers.values():
            hosts = _answer(partial(self._nova.compute_hosts, self._auth), hosts)
        return _Testimony(servers, hosts)

    def is_gone(self, server_id: str) -> bool:
        """Whether Nova reports that a server is deleted or never existed."""
        unclear: nova.Server | NovaSays = NovaSays.UNCLEAR
        return _answer(partial(self._one, server_id), unclear) in (NovaSays.DELETED, NovaSays.NO_RECORD)

    def is_on(self, server_id: str, host: str) -> bool:
        """Whether Nova reports that a server is on a host, and is about to do nothing to it."""
        unclear: nova.Server | NovaSays = NovaSays.UNCLEAR
        server = _answer(partial(self._one, server_id), unclear)
        if not isinstance(server, nova.Server) or server.busy:
            return False
        return server.host_id == nova.host_id(server.project_id, host)

    def _one(self, server_id: str) -> nova.Server | NovaSays:
        try:
            return self._nova.server(self._auth, server_id)
        except nova.Hidden:
            return NovaSays.UNCLEAR
        except exception.NotFound:
            deleted = self._nova.is_deleted(self._auth, server_id)
        if deleted is None:
            return NovaSays.UNCLEAR
        return NovaSays.DELETED if deleted else NovaSays.NO_RECORD


def _answer(ask: Callable[[], _Value], otherwise: _Value) -> _Value:
    try:
        return ask()
    except exception.ApiError as error:
        LOG.warning("Nova did not answer while looking for absent servers: %s", error)
        return otherwise
