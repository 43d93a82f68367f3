# SPDX-License-Identifier: Apache-2.0
"""Reading the guest's own list of USB devices."""

from __future__ import annotations

from lab.guest.console import begins, usb_devices

FIRST = 'lab-guest: usb [{"id": "08e6:4433", "serial": "", "product": "QEMU USB CCID"}]\r\n'
SECOND = 'lab-guest: usb [{"id": "46f4:0001", "serial": "LABSTICK01", "product": "QEMU USB HARDDRIVE"}]\r\n'


def test_the_last_list_counts() -> None:
    assert usb_devices("boot\r\n" + FIRST) == ["08e6:4433 - QEMU USB CCID"]
    assert usb_devices(FIRST + "noise\r\n" + SECOND) == ["46f4:0001 LABSTICK01 QEMU USB HARDDRIVE"]
    assert usb_devices(SECOND + "lab-guest: usb []\r\n") == []


def test_a_list_that_is_being_written_does_not_count_yet() -> None:
    assert usb_devices(FIRST + SECOND[:40]) == ["08e6:4433 - QEMU USB CCID"]


def test_a_guest_that_has_not_said_anything_has_nothing() -> None:
    assert usb_devices("SeaBIOS\r\n") == []


def test_what_a_disk_begins_with() -> None:
    line = 'lab-guest: usb [{"id": "46f4:0001", "serial": "A", "product": "B", "begins": "stick1"}]\r\n'
    assert begins(line, "A") == "stick1"
    assert begins(line, "B") is None
