# SPDX-License-Identifier: Apache-2.0
"""``conn.usb_passthrough`` for openstacksdk.

Call `register` with a connection, or specify it for a cloud in ``clouds.yaml``:
``vendor_hook: novaclient_usb.sdk:register`` (``openstack.connection.Connection``).
"""

from __future__ import annotations

from openstack import connection, service_description

from novaclient_usb import client
from novaclient_usb.sdk.proxy import Proxy

SERVICE = service_description.ServiceDescription(client.SERVICE_TYPE, supported_versions={"1": Proxy})


def register(conn: connection.Connection) -> None:
    """Add the service to a connection."""
    conn.add_service(SERVICE)
