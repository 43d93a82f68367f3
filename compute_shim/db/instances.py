# SPDX-License-Identifier: Apache-2.0
"""The servers on each host, as reported by agents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy import orm

from compute_shim import nova, objects
from compute_shim.db import host_list, models
from compute_shim.db.api import Database

_I = models.Instance


def store(session: orm.Session, host: str, servers: Mapping[str, objects.Server]) -> None:
    """Store the servers that the agent of a host reports; only rows that differ are written.

    The caller has locked the host's row.

    :param servers: by their UUIDs, all that have a domain on the host.
    """
    known = {row.instance_uuid: row for row in session.scalars(sa.select(_I).where(_I.host == host))}
    gone = known.keys() - servers.keys()
    if gone:
        session.execute(sa.delete(_I).where(_I.host == host, _I.instance_uuid.in_(gone)))
    for server_id in servers.keys() & known.keys():
        known[server_id].running = servers[server_id].running
        known[server_id].usb_ports = servers[server_id].usb_ports
    session.add_all(
        _I(
            instance_uuid=server_id,
            host=host,
            running=servers[server_id].running,
            usb_ports=servers[server_id].usb_ports,
        )
        for server_id in servers.keys() - known.keys()
    )


def likely_hosts(db: Database, server_id: str) -> list[str]:
    """Hosts on which a server may be, from its domains and its devices, without searching other hosts."""
    domains = sa.select(_I.host).where(_I.instance_uuid == server_id)
    devices = sa.select(models.Device.host).where(models.Device.instance_uuid == server_id)
    with db.reader() as session:
        return list(session.scalars(domains.union(devices)))


def host_of(db: Database, server: nova.Server, *likely: str) -> str | None:
    """The host that a server is on, None if it is on none that has ever had an agent.

    Most callers may not know the host's name, so it is found by the ``hostId`` that they may see. Names are
    tried until one fits; all of them only where nothing tells which it may be.

    :param likely: names to try first.
    """
    if not server.host_id:
        return None
    ways: list[Callable[[], Iterable[str]]] = [
        lambda: likely,
        lambda: likely_hosts(db, server.id),
        lambda: host_list.names(db),
    ]
    for names in ways:
        for name in names():
            if nova.host_id(server.project_id, name) == server.host_id:
                return name
    return None
