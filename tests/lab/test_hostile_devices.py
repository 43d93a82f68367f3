# SPDX-License-Identifier: Apache-2.0
"""Devices whose strings were written to do harm, from the kernel to JSON and back."""

from __future__ import annotations

from typing import Any

import pytest

from novaclient_usb import names
from novaclient_usb.reason_codes import ReasonCode
from tests.lab.gadget import gadget
from tests.lab.world import PATIENCE, World, until


@pytest.mark.parametrize(
    ("manufacturer", "product", "serial", "shown"),
    [
        ("<script>alert(1)</script>", "' OR 1=1; --", "</source><x a='", None),
        ('AT&T <b>"quote"</b>', "{$x$} %s %(name)s \\n", "$(reboot) `reboot`", None),
        ("two\nlines", "\x1b[31mred\x07", "tab\tand\rreturn", "two\ufffdlines \ufffd[31mred\ufffd"),
        ("\u202eevil", "zero\u200bwidth", "S1", "\ufffdevil zero\ufffdwidth"),
        # The longest: 126 UTF-16 units; Linux's gadget takes 126 bytes of UTF-8.
        ("A" * 126, "字" * 42, "\N{GRINNING FACE}" * 31, None),
    ],
)
def test_strings_arrive_as_they_are_or_harmless(
    world: World, manufacturer: str, product: str, serial: str, shown: str | None
) -> None:
    with gadget(world.host, manufacturer, product, serial):
        until(lambda: _listed(world), "the device is not listed")
        [device] = _listed(world)
        assert device["name"] == (f"{manufacturer} {product}" if shown is None else shown)
        assert names.printable(device["serial"]) == device["serial"]
        server = world.servers["one"].uuid
        world.usb.attachments.create(server, device["id"])
        world.usb.attachments.wait_attached(server, device["id"], PATIENCE)
        assert [hostdev.device_id for hostdev in world.hostdevs()["one"]] == [device["id"]]
        world.usb.attachments.delete(server, device["id"])
        world.usb.attachments.wait_detached(server, device["id"], PATIENCE)
    until(
        lambda: world.admin.devices.get(device["id"])["reason_code"] == ReasonCode.UNPLUGGED,
        "it is still there",
    )
    world.admin.devices.delete(device["id"])


def _listed(world: World) -> list[dict[str, Any]]:
    return [device for device in world.devices() if device["vendor_id"] == "dead"]
