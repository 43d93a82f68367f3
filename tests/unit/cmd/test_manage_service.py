# SPDX-License-Identifier: Apache-2.0
"""``usb-shim-manage db``."""

from __future__ import annotations

from pathlib import Path

import pytest

from compute_shim.cmd import manage
from compute_shim.db import migrations


def test_a_package_without_migrations_brings_no_schema_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "usb-shim.conf"
    file.write_text(f"[database]\nconnection = sqlite:///{tmp_path}/usb.sqlite\n")
    monkeypatch.setattr("sys.argv", ["usb-shim-manage", f"--config-file={file}", "db", "sync"])
    # It takes the handlers of pytest away.
    monkeypatch.setattr("oslo_log.log.setup", lambda conf, name: None)
    monkeypatch.setattr(migrations, "_DIRECTORY", tmp_path)
    assert manage.main() == 1
    error = capsys.readouterr().err
    assert f"There are no migrations in {tmp_path}/versions" in error
    assert "Install openstack-usb-passthrough again" in error
    assert error.count("\n") == 1
