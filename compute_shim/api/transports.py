# SPDX-License-Identifier: Apache-2.0
"""How a server may have a device: on its own host only, or over the network."""

from __future__ import annotations

from compute_shim import exception, liveness, nova
from compute_shim.api import servers
from compute_shim.api.call import Call
from compute_shim.db import channels, models, queries
from novaclient_usb.reason_codes import ReasonCode, describe

LOCAL = "local"


def server_host(call: Call, server: nova.Server, row: models.Device, transport: str) -> str | None:
    """The host on which a server is to have a device; None: the device's own host.

    :raises compute_shim.exception.Conflict: the server is not on a host, or cannot have the device there
    :raises compute_shim.exception.Unavailable: the agent of either host is down
    """
    host = servers.live_host(call, server, row.host)
    is_here = host == row.host
    if transport == LOCAL and not is_here:
        raise exception.Conflict(
            f"USB device {row.id} is on a different host than server {server.id}.",
            ReasonCode.DEVICE_ON_OTHER_HOST,
        )
    if transport == "network" or not is_here:
        code = obstacle(call, row, host)
        if code is not None:
            raise exception.Conflict(
                f"USB device {row.id} cannot be used over the network by server {server.id}:"
                f" {describe(code)}.",
                code,
            )
    if is_here:
        return None
    if not queries.hosts_up(call.service.db, liveness.Window.now(call.service.conf), [row.host]):
        raise exception.Unavailable(
            f"The USB agent on the host of USB device {row.id} is down. Contact your cloud administrator.",
            ReasonCode.HOST_DOWN,
        )
    return host


def obstacle(call: Call, row: models.Device, host: str) -> ReasonCode | None:
    """Why a device cannot be used over the network by servers on a host, None if it can."""
    if not row.over_network:
        return ReasonCode.NETWORK_NOT_ALLOWED
    hosts = {row.host, host}
    if channels.relay_hosts(call.service.db, hosts).keys() != hosts:
        return ReasonCode.NO_NETWORK_TRANSPORT
    return None
