# SPDX-License-Identifier: Apache-2.0
"""What people read of a refusal; the texts are those that the lab has seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_shim.hypervisor.libvirt.error_translation import explained

NO_BUS = "unsupported configuration: Device configuration is not compatible: Domain has no USB bus support"
NO_PORTS = "internal error: No free USB ports"
NOT_OPENED = (
    "internal error: unable to execute QEMU command 'device_add': failed to open host usb device"
    " /dev/bus/usb/001/003"
)
NO_NODE = (
    "internal error: unable to execute QEMU command 'device_add': failed to open /dev/bus/usb/002/003: No"
    " such device"
)
PORTS_USED = "all USB ports of the server are in use; detach another USB device from it"
WAY_OUT = (
    "set hw:usb_model=qemu-xhci on the flavor or hw_usb_model=qemu-xhci on the image, and hw_input_bus=virtio"
    " on the image; then resize or rebuild the server"
)
GONE = "the device went away before it could be attached"


@pytest.mark.parametrize(
    ("text", "controllers", "speed", "reason"),
    [
        (
            NO_BUS,
            ["none"],
            "5000",
            f"the server has no USB controller; {WAY_OUT}",
        ),
        (
            NO_PORTS,
            ["piix3-uhci"],
            "5000",
            f"{PORTS_USED}, or give it a controller with 4 ports: {WAY_OUT}",
        ),
        (
            NO_PORTS,
            ["qemu-xhci"],
            "5000",
            PORTS_USED,
        ),
        (
            NOT_OPENED,
            ["ehci"],
            "12",
            f"the server's USB controller (ehci) does not suit a device of 12 Mb/s; {WAY_OUT}",
        ),
        (
            NOT_OPENED,
            ["piix3-uhci", "ehci"],
            "480",
            f"the server's USB controller (piix3-uhci, ehci) does not suit a device of 480 Mb/s; {WAY_OUT}",
        ),
        (
            NOT_OPENED,
            ["nec-xhci"],
            "12",
            "QEMU cannot use the device; pull it out and plug it in again",
        ),
        (
            "Requested operation is not valid: USB device 002:002 is in use by driver QEMU, domain secret",
            ["qemu-xhci"],
            "12",
            "taken: another server on the same host has it; ask the operator to take it out there",
        ),
        ("internal error: Did not find USB device 46f4:0001 bus:2 device:99", ["qemu-xhci"], "12", GONE),
        ("Path '/dev/bus/usb/002/003' is not accessible: No such file or directory", [], "12", GONE),
        (NO_NODE, [], "12", GONE),
    ],
)
def test_known_refusals(text: str, controllers: list[str], speed: str, reason: str) -> None:
    assert explained(text, controllers, speed) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not removed from the domain within 10 s", "not removed from the domain within 10 s"),
        (
            "Unable to move /run/libvirt/qemu/12-b.bus.usb.002.003 mount to /dev/bus/usb/002/003: Invalid",
            "Unable to move … mount to … Invalid",
        ),
        (
            "Domain not found: no domain with matching uuid '0a0b-0c0d' (instance-00000007)",
            "Domain not found: no domain with matching uuid … …",
        ),
        (
            "Timed out during operation: cannot acquire state change lock (held by monitor=remoteDispatch)",
            "Timed out during operation: cannot acquire state change lock …",
        ),
    ],
)
def test_an_unknown_refusal_stays_without_names_and_paths(text: str, reason: str) -> None:
    assert explained(text) == reason


@given(
    st.sampled_from(["'{}'", '"{}"', "({})", "/{}", "/etc/{}", "in use by driver LXC, domain {}"]),
    st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1).map(lambda name: f"secret-{name}"),
    st.text("abc: ,.", max_size=20),
)
def test_a_name_is_never_told(form: str, name: str, around: str) -> None:
    assert "secret" not in explained(f"{around} {form.format(name)} {around}")
