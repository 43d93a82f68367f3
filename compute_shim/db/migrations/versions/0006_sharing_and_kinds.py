# SPDX-License-Identifier: Apache-2.0
"""Whom devices are shared with, which are interchangeable, and what projects are counted by.

Programs of the version before go on working on this schema: what is new is nullable, or a table of its own.
To their API all devices are everybody's, as they were.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for column in (
        sa.Column("shared", sa.Boolean),
        sa.Column("sharing_by", sa.String(16)),
        sa.Column("rule_sharing", sa.Text),
        sa.Column("rule", sa.String(1000)),
        sa.Column("lease_until", sa.DateTime),
        sa.Column("lease_warned", sa.DateTime),
        sa.Column("kind", sa.String(64)),
        sa.Column("kind_by", sa.String(16)),
        sa.Column("rule_kind", sa.String(64)),
        sa.Column("claimed_kind", sa.String(64)),
        sa.Column("handover", sa.String(16)),
        sa.Column("last_project_id", sa.String(255)),
        sa.Column("last_plug_id", sa.String(80)),
        sa.Column("wiped", sa.Integer),
        sa.Column("wipe_error", sa.String(1000)),
    ):
        op.add_column("host_usb_devices", column)
    op.add_column("usb_instances", sa.Column("usb_ports", sa.Integer))
    op.create_index("host_usb_devices_project_id_idx", "host_usb_devices", ["project_id"])
    op.create_index("host_usb_devices_lease_until_idx", "host_usb_devices", ["lease_until"])
    op.create_index(
        "host_usb_devices_shared_created_at_id_idx", "host_usb_devices", ["shared", "created_at", "id"]
    )
    with op.batch_alter_table("usb_device_events") as batch:
        batch.add_column(sa.Column("event_id", sa.String(36)))
        batch.create_unique_constraint("uniq_usb_device_events0event_id", ["event_id"])
    op.create_table(
        "usb_projects",
        sa.Column("project_id", sa.String(64), primary_key=True),
        sa.Column("claims", sa.BigInteger, nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )
    op.create_table(
        "usb_queue",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True
        ),
        sa.Column("entry_id", sa.String(36), nullable=False),
        sa.Column("server_id", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(255)),
        sa.Column("request_id", sa.String(255)),
        sa.Column("device_id", sa.String(36)),
        sa.Column("kind", sa.String(64)),
        sa.Column("target", sa.String(72), nullable=False),
        sa.Column("lease", sa.Integer),
        sa.Column("round", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.UniqueConstraint("server_id", "target", name="uniq_usb_queue0server_id0target"),
        sa.UniqueConstraint("entry_id", name="uniq_usb_queue0entry_id"),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )
    op.create_index("usb_queue_target_round_id_idx", "usb_queue", ["target", "round", "id"])
    for name in ("project_id", "device_id", "kind"):
        op.create_index(f"usb_queue_{name}_idx", "usb_queue", [name])
    op.create_index("host_usb_devices_kind_idx", "host_usb_devices", ["kind"])
    op.create_table(
        "usb_device_projects",
        sa.Column("device_id", sa.String(36), primary_key=True),
        sa.Column("project_id", sa.String(64), primary_key=True),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )
    op.create_index(
        "usb_device_projects_project_id_device_id_idx", "usb_device_projects", ["project_id", "device_id"]
    )
