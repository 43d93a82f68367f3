# SPDX-License-Identifier: Apache-2.0
"""Devices and hosts."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_MYSQL: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    op.create_table(
        "host_usb_devices",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("identity", sa.String(255), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("vendor_id", sa.String(4), nullable=False),
        sa.Column("product_id", sa.String(4), nullable=False),
        sa.Column("vendor", sa.String(255), nullable=False),
        sa.Column("product", sa.String(255), nullable=False),
        sa.Column("serial", sa.String(255), nullable=False),
        sa.Column("device_class", sa.String(2), nullable=False),
        sa.Column("speed", sa.String(16), nullable=False),
        sa.Column("port", sa.String(64), nullable=False),
        sa.Column("bus", sa.Integer, nullable=False),
        sa.Column("device", sa.Integer, nullable=False),
        sa.Column("present", sa.Boolean, nullable=False),
        sa.Column("blocked_reason", sa.String(1000)),
        sa.Column("description", sa.String(255), nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("instance_uuid", sa.String(36)),
        sa.Column("project_id", sa.String(255)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("state_reason", sa.String(1000)),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("updated_at", sa.DateTime, nullable=False),
        sa.UniqueConstraint("host", "identity", name="uniq_host_usb_devices0host0identity"),
        **_MYSQL,
    )
    op.create_index("host_usb_devices_instance_uuid_idx", "host_usb_devices", ["instance_uuid"])
    op.create_table(
        "usb_hosts",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("hypervisor", sa.String(255), nullable=False),
        sa.Column("version", sa.String(255), nullable=False),
        sa.Column("last_seen", sa.DateTime, nullable=False),
        **_MYSQL,
    )
