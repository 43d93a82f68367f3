# SPDX-License-Identifier: Apache-2.0
"""The driver that a connection URI stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from compute_shim.cmd import agent
from compute_shim.hypervisor.base import UnsupportedHypervisor
from compute_shim.hypervisor.libvirt import host_checks
from compute_shim.hypervisor.libvirt.drivers import driver
from compute_shim.hypervisor.libvirt.lxc import Lxc
from compute_shim.hypervisor.libvirt.qemu import Qemu


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("qemu:///system", Qemu),
        ("qemu+unix:///system", Qemu),
        ("lxc:///system", Lxc),
        ("lxc:///", Lxc),
    ],
)
def test_the_uri_selects_the_driver(
    monkeypatch: pytest.MonkeyPatch, uri: str, expected: type[Qemu | Lxc]
) -> None:
    monkeypatch.setattr(host_checks, "refuse_unsafe", lambda: None)
    assert type(driver(uri)) is expected


@pytest.mark.parametrize("uri", ["xen:///system", "test:///default", "lxcx:///", ""])
def test_another_hypervisor_is_refused_with_those_that_there_are(uri: str) -> None:
    with pytest.raises(
        UnsupportedHypervisor, match=r"connection_uri is '.*there is a driver for lxc and qemu"
    ):
        driver(uri)


def test_the_agent_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration = tmp_path / "usb-shim.conf"
    configuration.write_text("[libvirt]\nconnection_uri = xen:///system\n")
    monkeypatch.setattr("sys.argv", ["usb-shim-agent", f"--config-file={configuration}"])
    # It takes the handlers of pytest away.
    monkeypatch.setattr("oslo_log.log.setup", lambda conf, name: None)
    assert agent.main() == 1
    printed = capsys.readouterr().err
    assert printed.startswith(
        "usb-shim-agent: [libvirt] connection_uri is 'xen:///system': there is a driver"
    )
    assert printed.count("\n") == 1
