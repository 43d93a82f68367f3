# SPDX-License-Identifier: Apache-2.0
"""``usb-shim-status upgrade check``."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path

import pytest
from oslo_utils import timeutils

from compute_shim import conf as configuration
from compute_shim import rpc
from compute_shim.cmd import status
from compute_shim.conductor import nova_checks
from compute_shim.conf import database
from compute_shim.db import migrations, models, queries
from compute_shim.db.api import Database
from tests.unit.db.test_states import STICK

_KEYSTONE = "[keystone_authtoken]\nwww_authenticate_uri = http://keystone.example\n"


class Installation:
    """A configuration file, and perhaps a database."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "usb-shim.conf"
        self.write(f"[database]\nconnection = sqlite:///{directory}/usb.sqlite\n{_KEYSTONE}")
        conf = configuration.load([f"--config-file={self.file}"])
        database.register(conf)
        self.db = Database(conf)

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def agent(
        self, host: str, version: str = rpc.CONDUCTOR_VERSION, age: int = 0, problems: Iterable[str] = ()
    ) -> None:
        """An agent that was heard of so many seconds ago."""
        queries.sync_host(self.db, host, "QEMU", version, [STICK], problems)
        with self.db.writer() as session:
            row = session.get(models.Host, host)
            assert row is not None
            row.last_seen = timeutils.utcnow() - datetime.timedelta(seconds=age)

    def check(self, monkeypatch: pytest.MonkeyPatch) -> int:
        argv = ["usb-shim-status", f"--config-file={self.file}", "upgrade", "check"]
        monkeypatch.setattr("sys.argv", argv)
        # It takes the handlers of pytest away.
        monkeypatch.setattr("oslo_log.log.setup", lambda conf, name: None)
        return status.main()


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """Without a database."""
    return Installation(tmp_path)


def test_all_is_well(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    migrations.upgrade(installation.db)
    installation.agent("compute1")
    assert installation.check(monkeypatch) == 0
    assert capsys.readouterr().out.count("Success") == 6


def test_nothing_is_configured(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installation.write("")
    assert installation.check(monkeypatch) == 2
    out = capsys.readouterr().out
    assert "[database]" in out
    assert "www_authenticate_uri" in out
    assert "Traceback" not in out


def test_the_schema_is_not_there_yet(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert installation.check(monkeypatch) == 2
    assert "usb-shim-manage db" in capsys.readouterr().out


def test_no_agent_has_shown_up(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    migrations.upgrade(installation.db)
    assert installation.check(monkeypatch) == 1
    assert "No agents are registered" in capsys.readouterr().out


def test_an_agent_is_down_and_one_is_old(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    migrations.upgrade(installation.db)
    installation.agent("compute1", age=3600)
    installation.agent("compute2", version="0.9")
    assert installation.check(monkeypatch) == 1
    out = capsys.readouterr().out
    assert "Down: compute1." in out
    assert "compute2 (0.9)" in out


def test_a_host_has_something_to_mend(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    migrations.upgrade(installation.db)
    installation.agent("compute1")
    installation.agent("compute2", problems=["libvirt's hook is missing."])
    assert installation.check(monkeypatch) == 1
    assert "compute2: libvirt's hook is missing." in capsys.readouterr().out


def test_what_is_wrong_with_nova(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    migrations.upgrade(installation.db)
    installation.agent("new")
    installation.agent("old", age=3600)
    assert installation.check(monkeypatch) == 1
    out = capsys.readouterr().out
    assert "probably it was renamed" in " ".join(out.replace("|", "").split())
    found = nova_checks.Found("Set [nova] region_name.")
    monkeypatch.setattr(nova_checks, "check", lambda conf, db: found)
    assert installation.check(monkeypatch) == 2
    assert "Set [nova] region_name." in capsys.readouterr().out


def test_what_is_wrong_with_the_quota(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    migrations.upgrade(installation.db)
    installation.agent("compute1")
    monkeypatch.setattr(status.Keystone, "quota_problem", lambda self: "Register usb_devices.")
    assert installation.check(monkeypatch) == 2
    assert "Register usb_devices." in capsys.readouterr().out


def test_no_such_file(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installation.file.unlink()
    assert installation.check(monkeypatch) == 2
    assert str(installation.file) in capsys.readouterr().err
