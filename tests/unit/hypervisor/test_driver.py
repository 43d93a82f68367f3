# SPDX-License-Identifier: Apache-2.0
"""What libvirt's drivers have in common, without a daemon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import libvirt
import pytest

from compute_shim.hypervisor.base import ALIAS_PREFIX, Domain, Hostdev, HypervisorError, HypervisorUnavailable
from compute_shim.hypervisor.libvirt import qemu_process
from compute_shim.hypervisor.libvirt.config import redirdev_xml
from compute_shim.hypervisor.libvirt.driver import LibvirtDriver
from compute_shim.hypervisor.libvirt.guest import AFFECT_LIVE
from compute_shim.hypervisor.libvirt.lxc import Lxc
from compute_shim.hypervisor.libvirt.qemu import Qemu
from compute_shim.objects import Device, Reason, ReasonCode
from tests.unit.agent.model import SERVERS, device

GONE = Hostdev(f"{ALIAS_PREFIX}device-1", 2, 3, missing=True)
OURS = Hostdev(f"{ALIAS_PREFIX}device-1", 2, 3)


class Connection:
    """Knows every domain."""

    def lookupByUUIDString(self, uuid: str) -> str:  # noqa: N802  libvirt's name
        return uuid

    def close(self) -> None:
        pass


class Played(LibvirtDriver):
    """Attaches without looking, as libvirt does."""

    _not_attached = Reason(ReasonCode.DEVICE_UNUSABLE, "not opened")

    def __init__(self, *attached: Hostdev) -> None:
        super().__init__("test:///default")
        self.attached = attached
        self.has: tuple[Hostdev, ...] = ()
        self.calls: list[str] = []

    def problems(self) -> list[str]:
        return []

    def is_server(self, pid: int) -> bool:
        return False

    def _open(self) -> Any:
        return Connection()

    def _attach(self, domain: Any, device_id: str, device: Device) -> None:
        self.calls.append("attach")
        self.has = self.attached

    def _has(self, domain: Any, device_id: str, device: Device) -> bool:
        return self._look(domain).has(device_id, device)

    def _detach(self, domain: Any, device_id: str, *, live: bool, config: bool) -> None:
        self.calls.append(f"detach live={live} config={config}")
        self.has = ()

    def _look(self, domain: Any) -> Domain:
        return Domain(domain, "instance-1", True, self.has)


def test_a_device_that_the_domain_has_is_attached() -> None:
    driver = Played(OURS)
    driver.attach(SERVERS[1], "device-1", device(1))
    assert driver.domain(SERVERS[1]) == Domain(SERVERS[1], "instance-1", True, (OURS,))
    assert driver.calls == ["attach"]


@pytest.mark.parametrize(
    "attached",
    [
        pytest.param((), id="nothing"),
        pytest.param((GONE,), id="an empty place"),
        pytest.param((Hostdev(f"{ALIAS_PREFIX}device-1", 2, 99),), id="at another address"),
        pytest.param((Hostdev(f"{ALIAS_PREFIX}device-2", 2, 3),), id="for another claim"),
        pytest.param((Hostdev(None, 2, 3),), id="by hand"),
    ],
)
def test_what_the_domain_does_not_have_is_taken_out_and_refused(attached: tuple[Hostdev, ...]) -> None:
    driver = Played(*attached)
    with pytest.raises(HypervisorError) as refused:
        driver.attach(SERVERS[1], "device-1", device(1))
    assert refused.value.reason == Reason(ReasonCode.DEVICE_UNUSABLE, "not opened")
    assert driver.calls == ["attach", "detach live=True config=False"]


@pytest.mark.parametrize(("held", "has_it"), [({(2, 3)}, True), ({(2, 4)}, False), (None, True)])
def test_qemu_has_what_its_process_holds(
    monkeypatch: pytest.MonkeyPatch, held: set[tuple[int, int]] | None, has_it: bool
) -> None:
    """None: the process cannot be told any more, so the domain ended meanwhile; that is no refusal."""
    monkeypatch.setattr(qemu_process, "held_devices", lambda name: held)
    assert Qemu.__new__(Qemu)._has(mock.Mock(), "device-1", device(1)) is has_it


class Refusing:
    """A domain that libvirt attaches nothing to."""

    def __init__(self, refusal: str = "") -> None:
        self.refusal = refusal
        self.attached: list[tuple[str, int]] = []

    def UUIDString(self) -> str:  # noqa: N802  libvirt's name
        return SERVERS[1]

    def name(self) -> str:
        return "a domain without a process"

    def XMLDesc(self, flags: int) -> str:  # noqa: N802
        return "<domain><devices><controller type='usb' model='qemu-xhci'/></devices></domain>"

    def jobInfo(self) -> list[int]:  # noqa: N802
        return [libvirt.VIR_DOMAIN_JOB_NONE]

    def attachDeviceFlags(self, xml: str, flags: int) -> None:  # noqa: N802
        if self.refusal:
            error = libvirt.libvirtError("refused")
            error.args = (self.refusal,)
            raise error
        self.attached.append((xml, flags))


@pytest.fixture
def attach_channel(monkeypatch: pytest.MonkeyPatch) -> Callable[[Refusing], None]:
    """Attaches a channel to a domain of QEMU."""

    def attach(domain: Refusing) -> None:
        connection = mock.Mock(**{"lookupByUUIDString.return_value": domain})
        monkeypatch.setattr(Qemu, "_open", lambda self: connection)
        driver = Qemu.__new__(Qemu)
        LibvirtDriver.__init__(driver, "qemu:///system")
        driver.attach_channel(SERVERS[1], "device-1", "/run/usb-shim/device-1.sock")

    return attach


def test_a_channel_is_attached_to_the_running_domain_only(
    attach_channel: Callable[[Refusing], None],
) -> None:
    domain = Refusing()
    attach_channel(domain)
    assert domain.attached == [(redirdev_xml("device-1", "/run/usb-shim/device-1.sock"), AFFECT_LIVE)]


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        ("internal error: No free USB ports", ReasonCode.NO_FREE_USB_PORT),
        ("Failed to connect to '/run/usb-shim/device-1.sock': No such file", ReasonCode.HYPERVISOR_ERROR),
    ],
)
def test_a_refused_channel_has_a_reason(
    attach_channel: Callable[[Refusing], None], refusal: str, code: ReasonCode
) -> None:
    with pytest.raises(HypervisorError) as refused:
        attach_channel(Refusing(refusal))
    assert refused.value.reason.code == code
    assert "/run" not in refused.value.reason.text


def test_a_container_has_no_channels() -> None:
    with pytest.raises(HypervisorError, match="this hypervisor attaches only devices of its own host"):
        Lxc.__new__(Lxc).attach_channel(SERVERS[1], "device-1", "/run/usb-shim/device-1.sock")


def test_a_container_that_ended_meanwhile_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LibvirtDriver, "_describe", lambda self, domain: None)
    assert Lxc.__new__(Lxc)._has(mock.Mock(), "device-1", device(1))


def test_domains_whose_processes_cannot_be_told_are_not_touched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in a container without the host's /run/libvirt: an empty place would pass for an attached device."""
    monkeypatch.setattr(LibvirtDriver, "_open", lambda self: Connection())
    monkeypatch.setattr(qemu_process, "RUN", tmp_path / "gone")
    with pytest.raises(HypervisorUnavailable, match=r"gone is missing.*mount the host's /run/libvirt"):
        Qemu("qemu:///system").domains()
