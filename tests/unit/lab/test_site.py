# SPDX-License-Identifier: Apache-2.0
"""What a cloud of the lab is told by."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.cloud import site


def test_a_password_can_be_an_argument_of_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """keystone-manage took one that began with a dash for an option."""
    monkeypatch.setattr(site, "RUN", tmp_path)
    monkeypatch.setattr(site, "_RECORD", tmp_path / "site.json")
    passwords = site.create().passwords
    assert passwords
    assert all(password.isalnum() for password in passwords.values())
