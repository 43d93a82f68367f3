# SPDX-License-Identifier: Apache-2.0
"""The XML of hostdevs, both ways."""

from __future__ import annotations

import pytest

from compute_shim.hypervisor.base import Hostdev
from compute_shim.hypervisor.libvirt.config import (
    UsbPort,
    arrival_port,
    channels,
    hostdev_xml,
    is_active,
    redirdev_xml,
    usb_hostdevs,
    usb_ports,
)
from tests.unit.agent.model import device

DOMAIN = """
<domain><devices>
  <controller type='usb' index='0' model='qemu-xhci'><alias name='usb'/></controller>
  <controller type='usb' index='1' model='nec-xhci'><alias name='usb1'/></controller>
  <controller type='usb' index='2' model='ich9-ehci1'><alias name='usb2'/></controller>
  <hostdev mode='subsystem' type='usb' managed='no'>
    <source startupPolicy='optional' missing='yes'>
      <vendor id='0x46f4'/><product id='0x0001'/><address bus='255' device='255'/>
    </source>
    <alias name='ua-usb-one'/><address type='usb' bus='0' port='1'/>
  </hostdev>
  <hostdev mode='subsystem' type='usb'>
    <source><vendor id='0x08e6'/><product id='0x4433'/></source>
  </hostdev>
  <hostdev mode='subsystem' type='pci'>
    <source><address domain='0x0000' bus='0x06' slot='0x02' function='0x0'/></source>
    <alias name='hostdev0'/>
  </hostdev>
</devices></domain>
"""


def test_a_hostdev_names_model_and_address_and_never_stops_a_domain() -> None:
    assert hostdev_xml("one", device(1)) == (
        '<hostdev mode="subsystem" type="usb" managed="no"><source startupPolicy="optional">'
        '<vendor id="0x46f4" /><product id="0x0001" /><address bus="2" device="3" /></source>'
        '<alias name="ua-usb-one" /></hostdev>'
    )


def test_a_device_without_a_vendor_is_named_by_its_address_alone() -> None:
    """The error of libvirt 9.0 is "vendor cannot be 0."."""
    nameless = device(1, vendor_id="0000", product_id="0006")
    assert '<source startupPolicy="optional"><address bus="2" device="3" /></source>' in hostdev_xml(
        "one", nameless
    )


def test_what_is_written_is_read_back() -> None:
    domain = f"<domain><devices>{hostdev_xml('one', device(1))}</devices></domain>"
    [hostdev] = usb_hostdevs(domain)
    assert hostdev.device_id == "one"
    assert hostdev.holds(device(1))
    assert not hostdev.holds(device(1, device=4))


def test_only_usb_hostdevs_are_seen_and_only_marked_ones_are_ours() -> None:
    empty, strange = usb_hostdevs(DOMAIN)
    assert empty == Hostdev("ua-usb-one", 255, 255, missing=True)
    assert empty.device_id == "one"
    assert strange == Hostdev(None, None, None)
    assert strange.device_id is None


def test_a_channel_leads_to_a_socket_and_never_stops_a_domain() -> None:
    assert redirdev_xml("one", "/run/usb-shim/one.sock") == (
        '<redirdev bus="usb" type="unix"><source mode="connect" path="/run/usb-shim/one.sock">'
        '<reconnect enabled="yes" timeout="1" /></source><alias name="ua-usb-one" /></redirdev>'
    )


def test_only_marked_channels_are_ours() -> None:
    strange = redirdev_xml("two", "/x").replace("ua-usb-two", "redir0")
    unnamed = "<redirdev bus='usb' type='spicevmc'/>"
    ours = redirdev_xml("one", "/x") + redirdev_xml("three", "/y")
    assert channels(f"<domain><devices>{strange}{unnamed}{ours}</devices></domain>") == ("one", "three")
    assert channels(DOMAIN) == ()


def test_a_running_domain_has_an_id() -> None:
    assert is_active("<domain type='qemu' id='7'>\n  <name>n</name></domain>")
    assert not is_active("<domain type='qemu'>\n  <iothreadids><iothread id='1'/></iothreadids></domain>")


def test_an_arrived_hostdev_has_a_port_of_its_controller() -> None:
    assert arrival_port(DOMAIN, "one") == UsbPort("usb.0", 1)
    assert arrival_port(DOMAIN.replace("bus='0' port='1'", "bus='1' port='12'"), "one") == UsbPort(
        "usb1.0", 12
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("bus='255' device='255'", "bus='2' device='3'"),
        ("ua-usb-one", "ua-usb-two"),
        ("ua-usb-one", "hostdev1"),
        ("<address type='usb' bus='0' port='1'/>", ""),
        ("port='1'", "port='1.2'"),
        ("bus='0' port='1'", "bus='2' port='1'"),
        ("bus='0' port='1'", "bus='3' port='1'"),
    ],
)
def test_nothing_else_has_one(old: str, new: str) -> None:
    assert old in DOMAIN
    assert arrival_port(DOMAIN.replace(old, new), "one") is None


EHCI = "<controller type='usb' index='0' model='ich9-ehci1'/>"
COMPANION = "<controller type='usb' index='0' model='ich9-uhci1'><master startport='0'/></controller>"
XHCI = "<controller type='usb' index='0' model='qemu-xhci' ports='15'/>"
TABLET = "<input type='tablet' bus='usb'><address type='usb' bus='0' port='1'/></input>"
OURS = "<hostdev type='usb'><alias name='ua-usb-1'/><source/><address type='usb' bus='0' port='2'/></hostdev>"
CHANNEL = OURS.replace("hostdev", "redirdev")
THEIRS = (
    "<hostdev type='usb'><alias name='hostdev1'/><source/><address type='usb' bus='0' port='3'/></hostdev>"
)


@pytest.mark.parametrize(
    ("devices", "ports"),
    [
        ("", None),
        ("<controller type='usb' model='none'/>", None),
        ("<controller type='pci' model='pcie-root'/>", None),
        (XHCI, 15),
        (XHCI + TABLET, 14),
        (XHCI + TABLET + OURS, 14),
        (XHCI + TABLET + OURS + THEIRS, 13),
        (XHCI + "<disk><target bus='usb'/><address type='usb' bus='0' port='4'/></disk>", 14),
        (XHCI + "<redirdev bus='usb'><address type='usb' bus='0' port='4'/></redirdev>", 14),
        (XHCI + CHANNEL, 15),
        (XHCI + "<hub type='usb'><address type='usb' bus='0' port='1'/></hub>", 22),
        ("<controller type='usb' index='0' model='piix3-uhci'/>" + TABLET, 1),
        (EHCI + COMPANION, 6),
        ("<controller type='usb' index='0' model='piix3-uhci'/>" + TABLET + 2 * THEIRS, 0),
    ],
)
def test_ports(devices: str, ports: int | None) -> None:
    assert usb_ports(f"<domain type='kvm' id='1'><devices>{devices}</devices></domain>") == ports
