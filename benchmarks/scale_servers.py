# SPDX-License-Identifier: Apache-2.0
"""The servers that `benchmarks/scale` runs against: a MariaDB and a RabbitMQ of its own.

Import it before anything else of the lab, as `tests.functional.private_servers`.
"""

from __future__ import annotations

from tests.functional.private_servers import PrivateServers

# isort: split
import sqlalchemy as sa

# The largest database fits in: what is measured is the work, not this machine's disk.
_BUFFER_POOL_BYTES = 1 << 30


class Servers(PrivateServers):
    """With room for large databases."""

    def start(self) -> None:
        """Start MariaDB."""
        super().start()
        self._engine = sa.create_engine(self.create_database(), isolation_level="AUTOCOMMIT")
        with self._engine.connect() as connection:
            connection.execute(sa.text(f"SET GLOBAL innodb_buffer_pool_size = {_BUFFER_POOL_BYTES}"))

    def deadlocks(self) -> int:
        """How many deadlocks MariaDB has resolved since it was started."""
        with self._engine.connect() as connection:
            _, count = connection.execute(sa.text("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")).one()
        return int(count)
