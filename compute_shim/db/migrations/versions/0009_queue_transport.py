# SPDX-License-Identifier: Apache-2.0
"""How a queued server may have the device.

Programs of the version before go on working on this schema: what is new is nullable.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("usb_queue", sa.Column("transport", sa.String(16)))
