# SPDX-License-Identifier: Apache-2.0
"""How a server may have a device: on its own host only, or over the network."""

from __future__ import annotations

from collections.abc import Collection

from compute_shim import exception, liveness, nova
from compute_shim.api import servers
from compute_shim.api.call import Call
from compute_shim.db import channels, models, queries
from novaclient_usb.reason_codes import ReasonCode, describe

LOCAL, ANY = "local", "any"


def stored(transport: str) -> str | None:
    """A transport as the database has it."""
    return None if transport == LOCAL else transport


def server_host(call: Call, server: nova.Server, row: models.Device, transport: str) -> str | None:
    """The host on which a server is to have a device; None: the device's own host.

    :raises compute_shim.exception.Conflict: the server is not on a host, or cannot have the device there
    :raises compute_shim.exception.Unavailable: the agent of either host is down
    """
    host = servers.live_host(call, server, row.host)
    refuse_unusable(call, server, row, host, transport)
    if host == row.host:
        return None
    if not queries.hosts_up(call.service.db, liveness.Window.now(call.service.conf), [row.host]):
        raise exception.Unavailable(
            f"The USB agent on the host of USB device {row.id} is down. Contact your cloud administrator.",
            ReasonCode.HOST_DOWN,
        )
    return host


def refuse_unusable(
    call: Call, server: nova.Server, row: models.Device, host: str | None, transport: str
) -> None:
    """Refuse a device that a server cannot have on its host.

    :param host: None: it is on none that is known.
    :raises compute_shim.exception.Conflict: it cannot
    """
    code = obstacle(call, row, host, transport)
    if code == ReasonCode.DEVICE_ON_OTHER_HOST:
        raise exception.Conflict(f"USB device {row.id} is on a different host than server {server.id}.", code)
    if code is not None:
        raise exception.Conflict(
            f"USB device {row.id} cannot be used over the network by server {server.id}: {describe(code)}.",
            code,
        )


def obstacle(call: Call, row: models.Device, host: str | None, transport: str) -> ReasonCode | None:
    """Why servers on a host cannot have a device by a transport, None if they can."""
    return obstacles(call, [row], host, transport).get(row.id)


def obstacles(
    call: Call, rows: Collection[models.Device], host: str | None, transport: str
) -> dict[str, ReasonCode]:
    """Device id -> why servers on a host cannot have it by a transport, for those that they cannot have.

    `compute_shim.db.channels.usable` is the same in SQL.
    """
    hosts = {host or "", *(row.host for row in rows)}
    taking_part = set() if transport == LOCAL else channels.relay_hosts(call.service.db, hosts).keys()
    found = {}
    for row in rows:
        if row.host == host and transport != "network":
            continue
        if transport == LOCAL:
            found[row.id] = ReasonCode.DEVICE_ON_OTHER_HOST
        elif not row.over_network:
            found[row.id] = ReasonCode.NETWORK_NOT_ALLOWED
        elif not taking_part >= {row.host, host}:
            found[row.id] = ReasonCode.NO_NETWORK_TRANSPORT
    return found
