# SPDX-License-Identifier: Apache-2.0
"""What a socket is called, by trees of sysfs as real hosts have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from compute_shim.agent import sockets

PCI = "pci0000:00/0000:00:14.0"


class Sysfs:
    """The devices of a host; a root hub has the speed of its bus."""

    def __init__(self, root: Path) -> None:
        self.devices = root / "sys/devices"

    def root_hub(self, controller: str, bus: int, speed: str) -> None:
        directory = self.devices / controller / f"usb{bus}"
        directory.mkdir(parents=True)
        (directory / "speed").write_text(f"{speed}\n")

    def plug(self, controller: str, *ports: str) -> str:
        """A device below hubs; each hub has a link to its port, as the kernel makes it."""
        bus = ports[0].partition("-")[0]
        directory = self.devices / controller / f"usb{bus}"
        for port in ports:
            hub, number = self._hub_port(directory, port)
            hub.mkdir(parents=True, exist_ok=True)
            directory = directory / port
            directory.mkdir(exist_ok=True)
            if not (directory / "port").is_symlink():
                (hub / number).mkdir(exist_ok=True)
                (directory / "port").symlink_to(hub / number)
        return str(directory)

    def _hub_port(self, directory: Path, port: str) -> tuple[Path, str]:
        bus, _, path = port.partition("-")
        above, _, number = path.rpartition(".")
        if above:
            return directory / f"{bus}-{above}:1.0", f"{bus}-{above}-port{number}"
        return directory / f"{bus}-0:1.0", f"usb{bus}-port{number}"

    def peers(self, controller: str, one: str, other: str) -> None:
        """Link two ports, ``usb1-port3`` or ``1-3-port2``, of two buses of a controller to each other."""
        [first] = (self.devices / controller).rglob(one)
        [second] = (self.devices / controller).rglob(other)
        (first / "peer").symlink_to(second)
        (second / "peer").symlink_to(first)


def name(directory: str, port: str) -> str:
    """What the socket of a device is called."""
    return sockets.name(directory, port).name


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    return Sysfs(tmp_path)


@pytest.mark.parametrize(
    ("controller", "called"),
    [
        (PCI, "pci-0000:00:14.0"),
        ("pci0000:00/0000:00:1c.4/0000:05:00.0/0000:06:02.0/0000:07:00.0", "pci-0000:07:00.0"),
        ("pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:1d.0/10000:e1:00.0", "pci-10000:e1:00.0"),
        (
            "platform/scb/fd500000.pcie/pci0000:00/0000:00:00.0/0000:01:00.0",
            "platform-scb-fd500000.pcie-pci-0000:01:00.0",
        ),
        ("platform/soc/3f980000.usb", "platform-soc-3f980000.usb"),
        (
            "platform/soc@0/a8f8800.usb/a800000.usb/xhci-hcd.3.auto",
            "platform-soc@0-a8f8800.usb-a800000.usb-xhci-hcd",
        ),
        ("platform/dummy_hcd.1", "platform-dummy_hcd.1"),
        ("platform/vhci_hcd.0", "platform-vhci_hcd.0"),
    ],
)
def test_a_socket_has_the_name_of_its_controller(sysfs: Sysfs, controller: str, called: str) -> None:
    sysfs.root_hub(controller, 3, "480")
    assert name(sysfs.plug(controller, "3-2"), "3-2") == f"{called}-usbv2-0:2"


@pytest.mark.parametrize(
    ("speed", "revision"), [("12", 1), ("480", 2), ("5000", 3), ("10000", 3), ("20000", 3)]
)
def test_a_port_without_a_peer_is_named_by_its_own_bus(sysfs: Sysfs, speed: str, revision: int) -> None:
    sysfs.root_hub(PCI, 1, speed)
    assert name(sysfs.plug(PCI, "1-4"), "1-4") == f"pci-0000:00:14.0-usbv{revision}-0:4"


def test_the_name_does_not_depend_on_the_number_of_the_bus(sysfs: Sysfs, tmp_path: Path) -> None:
    sysfs.root_hub(PCI, 1, "480")
    again = Sysfs(tmp_path / "after")
    again.root_hub(PCI, 7, "480")
    before = name(sysfs.plug(PCI, "1-3", "1-3.2"), "1-3.2")
    assert before == name(again.plug(PCI, "7-3", "7-3.2"), "7-3.2") == "pci-0000:00:14.0-usbv2-0:3.2"


@pytest.fixture
def connector(sysfs: Sysfs) -> Sysfs:
    """Port 1 of the USB 3 bus is one connector with port 5 of the USB 2 bus, in which there is a hub."""
    sysfs.root_hub(PCI, 1, "480")
    sysfs.root_hub(PCI, 2, "5000")
    sysfs.plug(PCI, "1-5", "1-5.2")
    sysfs.plug(PCI, "2-1", "2-1.2")
    sysfs.peers(PCI, "usb1-port5", "usb2-port1")
    return sysfs


def test_both_halves_of_a_connector_are_one_socket(connector: Sysfs) -> None:
    assert (
        name(connector.plug(PCI, "1-5"), "1-5")
        == name(connector.plug(PCI, "2-1"), "2-1")
        == "pci-0000:00:14.0-usbv2-0:5"
    )


@pytest.mark.parametrize("linked", [True, False])
def test_so_are_those_behind_a_hub_whether_they_are_linked_yet_or_not(connector: Sysfs, linked: bool) -> None:
    if linked:
        connector.peers(PCI, "1-5-port2", "2-1-port2")
    assert (
        name(connector.plug(PCI, "1-5", "1-5.2"), "1-5.2")
        == name(connector.plug(PCI, "2-1", "2-1.2"), "2-1.2")
        == "pci-0000:00:14.0-usbv2-0:5.2"
    )


def test_a_link_says_more_than_the_numbers_of_the_ports(connector: Sysfs) -> None:
    """Firmware may tell which ports of a hub on the mainboard are one connector."""
    connector.plug(PCI, "1-5", "1-5.4")
    connector.peers(PCI, "1-5-port4", "2-1-port2")
    assert name(connector.plug(PCI, "2-1", "2-1.2"), "2-1.2") == "pci-0000:00:14.0-usbv2-0:5.4"


def test_a_name_is_lasting_once_the_port_itself_has_its_peer(connector: Sysfs) -> None:
    directory = connector.plug(PCI, "2-1", "2-1.2")
    assert sockets.name(directory, "2-1.2").lasting is False
    connector.peers(PCI, "1-5-port2", "2-1-port2")
    assert sockets.name(directory, "2-1.2").lasting is True
    assert sockets.name(connector.plug(PCI, "1-5", "1-5.2"), "1-5.2").lasting is True


def test_what_goes_away_has_no_socket(sysfs: Sysfs) -> None:
    with pytest.raises((OSError, ValueError)):
        name(str(sysfs.devices / "gone"), "1-1")
    directory = sysfs.plug(PCI, "1-1")
    with pytest.raises(OSError, match="speed"):
        name(directory, "1-1")
