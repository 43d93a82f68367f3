# SPDX-License-Identifier: Apache-2.0
"""What the operator of a host has to mend."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("usb_hosts", sa.Column("problems", sa.String(1000)))
