# SPDX-License-Identifier: Apache-2.0
"""``conn.usb_passthrough`` for openstacksdk.

Either call `register` with a connection, or have ``clouds.yaml`` name it for a cloud:
``vendor_hook: novaclient_usb.sdk:register`` (``openstack.connection.Connection``).
"""

from __future__ import annotations

from openstack import connection, service_description

from novaclient_usb import client
from novaclient_usb.sdk.proxy import Proxy

SERVICE = service_description.ServiceDescription(client.SERVICE_TYPE, supported_versions={"1": Proxy})


def register(conn: connection.Connection) -> None:
    """Let a connection have the service."""
    conn.add_service(SERVICE)
