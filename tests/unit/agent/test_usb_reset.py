# SPDX-License-Identifier: Apache-2.0
"""What is not reset; that the kernel resets the rest is for the lab to prove."""

from __future__ import annotations

from pathlib import Path

import pytest

from compute_shim.agent import usb_reset
from tests.unit.agent.model import device


def test_what_a_process_holds_is_not_reset(tmp_path: Path) -> None:
    interface = tmp_path / "sys/bus/usb/devices/2-1:1.0"
    interface.mkdir(parents=True)
    (interface / "driver").symlink_to("../../../../bus/usb/drivers/usbfs")
    with pytest.raises(OSError, match="a process of the host holds it"):
        usb_reset.reset(device(1), tmp_path / "sys", tmp_path / "dev")


@pytest.mark.parametrize("driver", ["usb-storage", None])
def test_what_is_gone_is_not_reset(tmp_path: Path, driver: str | None) -> None:
    """Nobody holds it, so it comes to opening the node."""
    interface = tmp_path / "sys/bus/usb/devices/2-1:1.0"
    interface.mkdir(parents=True)
    if driver is not None:
        (interface / "driver").symlink_to(f"../../../../bus/usb/drivers/{driver}")
    with pytest.raises(FileNotFoundError):
        usb_reset.reset(device(1), tmp_path / "sys", tmp_path / "dev")


def test_what_no_driver_has_is_given_to_the_host_s_drivers(tmp_path: Path) -> None:
    usb = tmp_path / "sys/bus/usb"
    for interface in ("2-1:1.0", "2-1:1.1", "2-10:1.0"):
        (usb / "devices" / interface).mkdir(parents=True)
    (usb / "devices/2-1:1.0/driver").symlink_to("../../../../bus/usb/drivers/usbhid")
    usb_reset.probe(device(1), tmp_path / "sys")
    assert (usb / "drivers_probe").read_text() == "2-1:1.1"
