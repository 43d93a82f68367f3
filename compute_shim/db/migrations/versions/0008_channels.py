# SPDX-License-Identifier: Apache-2.0
"""Devices that servers on other hosts use over the network.

Programs of the version before go on working on this schema: what is new is nullable, or a table of its own.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("host_usb_devices", sa.Column("over_network", sa.Boolean))
    op.add_column("host_usb_devices", sa.Column("claimed_transport", sa.String(16)))
    op.add_column("usb_hosts", sa.Column("relay_address", sa.String(255)))
    op.create_table(
        "usb_channels",
        sa.Column("device_id", sa.String(36), primary_key=True),
        sa.Column("device_host", sa.String(255), nullable=False),
        sa.Column("server_host", sa.String(255), nullable=False),
        sa.Column("told_generation", sa.Integer, nullable=False),
        sa.Column("relay_port", sa.Integer),
        sa.Column("device_state", sa.String(16)),
        sa.Column("device_code", sa.String(64)),
        sa.Column("device_reason", sa.String(1000)),
        sa.Column("server_state", sa.String(16)),
        sa.Column("server_code", sa.String(64)),
        sa.Column("server_reason", sa.String(1000)),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )
    op.create_index("host_usb_devices_claimed_transport_idx", "host_usb_devices", ["claimed_transport"])
    op.create_index("usb_channels_device_host_idx", "usb_channels", ["device_host"])
    op.create_index("usb_channels_server_host_idx", "usb_channels", ["server_host"])
