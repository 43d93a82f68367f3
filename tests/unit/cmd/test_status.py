# SPDX-License-Identifier: Apache-2.0
"""``usb-shim-status upgrade check`` without a configuration (see tests/functional/test_upgrade_check.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from compute_shim.cmd import status


def _check(monkeypatch: pytest.MonkeyPatch, file: Path) -> int:
    monkeypatch.setattr("sys.argv", ["usb-shim-status", f"--config-file={file}", "upgrade", "check"])
    # It takes the handlers of pytest away.
    monkeypatch.setattr("oslo_log.log.setup", lambda conf, name: None)
    return status.main()


def test_nothing_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "usb-shim.conf"
    file.touch()
    assert _check(monkeypatch, file) == 2
    out = capsys.readouterr().out
    for option in ("[database] connection", "transport_url", "www_authenticate_uri", "[nova] auth_type"):
        assert f"{option} is not" in " ".join(out.replace("|", "").split())
    assert "Traceback" not in out


def test_no_such_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "usb-shim.conf"
    assert _check(monkeypatch, file) == 2
    assert str(file) in capsys.readouterr().err
