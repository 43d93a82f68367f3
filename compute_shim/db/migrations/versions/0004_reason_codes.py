# SPDX-License-Identifier: Apache-2.0
"""Reason codes, servers as agents see them, leases of conductors, and indices for large clouds.

Programs of the version before go on working on this schema: what is new is nullable, or a table of its own.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_MYSQL: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    for column in (
        sa.Column("blocked_code", sa.String(64)),
        sa.Column("user_id", sa.String(255)),
        sa.Column("reason_code", sa.String(64)),
        sa.Column("state_since", sa.DateTime),
        sa.Column("absent_since", sa.DateTime),
        sa.Column("absent_seen", sa.DateTime),
        sa.Column("absent_generation", sa.Integer),
    ):
        op.add_column("host_usb_devices", column)
    for columns in (["created_at", "id"], ["host", "state"], ["state", "created_at", "id"]):
        op.create_index(f"host_usb_devices_{'_'.join(columns)}_idx", "host_usb_devices", columns)
    for column in (
        sa.Column("device_name", sa.String(255)),
        sa.Column("host", sa.String(255)),
        sa.Column("cause_code", sa.String(64)),
        sa.Column("reason_code", sa.String(64)),
    ):
        op.add_column("usb_device_events", column)
    for columns in (["instance_uuid"], ["project_id", "id"], ["created_at"]):
        op.create_index(f"usb_device_events_{'_'.join(columns)}_idx", "usb_device_events", columns)
    _widen_event_ids()
    op.add_column("usb_hosts", sa.Column("digest", sa.String(64)))
    op.create_table(
        "usb_instances",
        sa.Column("instance_uuid", sa.String(36), primary_key=True),
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("running", sa.Boolean, nullable=False),
        **_MYSQL,
    )
    op.create_index("usb_instances_host_idx", "usb_instances", ["host"])
    op.create_table(
        "usb_leases",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("holder", sa.String(255), nullable=False),
        sa.Column("expires_at", sa.DateTime, nullable=False),
        **_MYSQL,
    )


def _widen_event_ids() -> None:
    """SQLite's are 64 bits wide already."""
    dialect = op.get_bind().dialect.name
    if dialect == "postgresql":
        op.alter_column("usb_device_events", "id", type_=sa.BigInteger)
        op.execute("ALTER SEQUENCE usb_device_events_id_seq AS bigint")
    elif dialect != "sqlite":
        op.alter_column(
            "usb_device_events",
            "id",
            existing_type=sa.Integer,
            type_=sa.BigInteger,
            existing_nullable=False,
            autoincrement=True,
        )
