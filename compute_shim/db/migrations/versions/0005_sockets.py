# SPDX-License-Identifier: Apache-2.0
"""Sockets, plug-ins, and serial numbers that two devices of a host share.

Programs of the version before go on working on this schema: what is new is nullable, or a table of its own.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for column in (
        sa.Column("socket", sa.String(255)),
        sa.Column("plug_id", sa.String(80)),
        sa.Column("serial_shared", sa.Boolean),
        sa.Column("follow", sa.String(16)),
    ):
        op.add_column("host_usb_devices", column)
    op.create_table(
        "usb_shared_serials",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("vendor_id", sa.String(4), primary_key=True),
        sa.Column("product_id", sa.String(4), primary_key=True),
        sa.Column("serial", sa.String(255), primary_key=True),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )
