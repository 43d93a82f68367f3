# SPDX-License-Identifier: Apache-2.0
"""A package without migrations."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from alembic.util import CommandError
from oslo_config import cfg

from compute_shim.conf import database
from compute_shim.db import migrations
from compute_shim.db.api import Database


def test_without_migrations_the_schema_is_not_called_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(Path(migrations.__file__).parent / "env.py", tmp_path)
    (tmp_path / "versions").mkdir()
    monkeypatch.setattr(migrations, "__file__", str(tmp_path / "__init__.py"))
    conf = cfg.ConfigOpts()
    database.register(conf)
    conf([])
    conf.set_override("connection", "sqlite://", group=database.GROUP)
    with pytest.raises(CommandError, match="no migrations"):
        migrations.upgrade(Database(conf))
    with pytest.raises(CommandError, match="no migrations"):
        migrations.head()
