# SPDX-License-Identifier: Apache-2.0
"""Which claims are from an allocation of Nova's in Placement.

Programs of the version before go on working on this schema: the column is nullable.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("host_usb_devices", sa.Column("allocated", sa.Boolean))
