# SPDX-License-Identifier: Apache-2.0
"""Neutron's tables made from its models, as Neutron's own unit tests make them, and marked as up to date.

    python -m lab.cloud.neutron_tables DATABASE_URL

Its ninety migrations take half a minute and end in the same tables.
"""

from __future__ import annotations

import sys
from pathlib import Path

import sqlalchemy as sa
from neutron.db import migration
from neutron.db.migration.models import head


def main(url: str) -> None:
    """Make the tables in an empty database."""
    versions = Path(migration.__file__).parent / "alembic_migrations/versions"
    heads = [(versions / branch).read_text().strip() for branch in ("CONTRACT_HEAD", "EXPAND_HEAD")]
    stamp = sa.Table(
        "alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True)
    )
    with sa.create_engine(url).begin() as connection:
        head.get_metadata().create_all(connection)
        stamp.create(connection)
        connection.execute(stamp.insert(), [{"version_num": version} for version in heads])


if __name__ == "__main__":
    main(sys.argv[1])
