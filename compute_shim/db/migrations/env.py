# SPDX-License-Identifier: Apache-2.0
"""Run by alembic, on the connection that `compute_shim.db.migrations` made."""

from alembic import context

from compute_shim.db.models import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
