# SPDX-License-Identifier: Apache-2.0
"""What people read of a refusal; the texts are those that the lab has seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_shim.hypervisor.libvirt.error_translation import explained
from compute_shim.objects import Reason, ReasonCode

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
GONE = Reason(ReasonCode.DEVICE_GONE)


@pytest.mark.parametrize(
    ("text", "controllers", "speed", "reason"),
    [
        (
            NO_BUS,
            ["none"],
            "5000",
            Reason(ReasonCode.NO_USB_CONTROLLER),
        ),
        (
            NO_PORTS,
            ["piix3-uhci"],
            "5000",
            Reason(ReasonCode.NO_FREE_USB_PORT),
        ),
        (
            NO_PORTS,
            ["qemu-xhci"],
            "5000",
            Reason(ReasonCode.NO_FREE_USB_PORT, PORTS_USED),
        ),
        (
            NOT_OPENED,
            ["ehci"],
            "12",
            Reason(
                ReasonCode.SPEED_MISMATCH,
                f"the server's USB controller (ehci) does not support 12 Mb/s devices; {WAY_OUT}",
            ),
        ),
        (
            NOT_OPENED,
            ["piix3-uhci", "ehci"],
            "480",
            Reason(
                ReasonCode.SPEED_MISMATCH,
                "the server's USB controller (piix3-uhci, ehci) does not support 480 Mb/s devices;"
                f" {WAY_OUT}",
            ),
        ),
        (
            NOT_OPENED,
            ["nec-xhci"],
            "12",
            Reason(ReasonCode.DEVICE_UNUSABLE),
        ),
        (
            "Requested operation is not valid: USB device 002:002 is in use by driver QEMU, domain secret",
            ["qemu-xhci"],
            "12",
            Reason(ReasonCode.HELD_BY_DOMAIN),
        ),
        ("internal error: Did not find USB device 46f4:0001 bus:2 device:99", ["qemu-xhci"], "12", GONE),
        ("Path '/dev/bus/usb/002/003' is not accessible: No such file or directory", [], "12", GONE),
        (NO_NODE, [], "12", GONE),
    ],
)
def test_known_refusals(text: str, controllers: list[str], speed: str, reason: Reason) -> None:
    assert explained(text, controllers, speed) == reason


def test_only_a_controller_of_another_kind_leaves_room_for_a_larger_one() -> None:
    """Who has one of the best kind is told to detach something, and not to change the flavor."""
    assert WAY_OUT in explained(NO_PORTS, ["piix3-uhci"]).text
    assert WAY_OUT not in explained(NO_PORTS, ["qemu-xhci"]).text


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
    assert explained(text) == Reason(ReasonCode.HYPERVISOR_ERROR, reason)


@given(
    st.sampled_from(["'{}'", '"{}"', "({})", "/{}", "/etc/{}", "in use by driver LXC, domain {}"]),
    st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1).map(lambda name: f"secret-{name}"),
    st.text("abc: ,.", max_size=20),
)
def test_a_name_is_never_told(form: str, name: str, around: str) -> None:
    assert "secret" not in explained(f"{around} {form.format(name)} {around}").text
