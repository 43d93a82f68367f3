# SPDX-License-Identifier: Apache-2.0
"""Reading devices from sysfs and udev, and knowing them again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_shim.agent import files, network_drivers
from compute_shim.agent.inventory import Inventory, boot_id, clean, scan
from compute_shim.objects import Plugged
from tests.unit.agent.tree import BOOT, Tree, descriptors


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_a_stick(tree: Tree) -> None:
    directory = tree.plug(
        "2-1.4",
        2,
        3,
        "0781",
        "5567",
        udev={"ID_VENDOR_FROM_DATABASE": "SanDisk Corp.", "ID_MODEL_FROM_DATABASE": "Cruzer Blade"},
        manufacturer=b"SanDisk",
        product=b"Blade thing",
        serial=b"4C53",
    )
    assert scan(tree.sys, tree.udev, tree.proc) == [
        Plugged(
            name="SanDisk Corp. Cruzer Blade",
            vendor_id="0781",
            product_id="5567",
            vendor="SanDisk Corp.",
            product="Cruzer Blade",
            serial="4C53",
            device_class="08",
            speed="5000",
            port="2-1.4",
            bus=2,
            device=3,
            socket="pci-0000:00:14.0-usbv2-0:1.4",
            plug_id=f"{BOOT}/2.3/{directory.stat().st_ino}",
            classes=("080000",),
        )
    ]


def test_names_fall_back_one_by_one_to_the_strings_of_the_device(tree: Tree) -> None:
    """As lsusb does: each of the two names by itself."""
    tree.plug(
        "1-1", 1, 2, udev={"ID_VENDOR_FROM_DATABASE": "Yubico.com"}, manufacturer=b"Yubi", product=b"Key"
    )
    tree.plug("1-2", 1, 3, manufacturer=b"Acme & S\xc3\xb6ns <x>", product=b"Tok\xc3\xa9n 'q'")
    tree.plug("1-3", 1, 4)
    assert [found.name for found in scan(tree.sys, tree.udev, tree.proc)] == [
        "Yubico.com Key",
        "Acme & Söns <x> Tokén 'q'",
        "",
    ]


def test_hubs_and_what_pretends_to_be_one_are_never_seen(tree: Tree) -> None:
    tree.plug("1-1", 1, 2, descriptor=descriptors(9, 9))
    tree.plug("1-2", 1, 3, descriptor=descriptors(0, 8, 9))
    tree.plug("1-3", 1, 4, descriptor=descriptors(0, 8))
    (tree.sys / "bus/usb/devices/usb1").mkdir()
    (tree.sys / "bus/usb/devices/1-0:1.0").mkdir()
    assert [found.port for found in scan(tree.sys, tree.udev, tree.proc)] == ["1-3"]


def test_a_host_without_usb_has_no_devices(tmp_path: Path) -> None:
    assert scan(tmp_path / "sys", tmp_path / "udev") == []


def test_the_class_is_that_of_the_device_or_else_of_its_first_interface(tree: Tree) -> None:
    tree.plug("1-1", 1, 2, descriptor=descriptors(0xEF, 3, 8))
    tree.plug("1-2", 1, 3, descriptor=descriptors(0, 3, 8))
    tree.plug("1-3", 1, 4, descriptor=descriptors(0))
    assert [found.device_class for found in scan(tree.sys, tree.udev, tree.proc)] == ["ef", "03", "00"]


def test_classes_are_those_of_the_device_and_of_every_interface_once(tree: Tree) -> None:
    tree.plug("1-1", 1, 2, descriptor=descriptors(0xEF0201, 0x0E0100, 0x0E0200, 0x0E0200))
    tree.plug("1-2", 1, 3, descriptor=descriptors(0, 0x030101, 0x080650))
    second_configuration = descriptors(0, 0x020600)[18:]
    tree.plug("1-3", 1, 4, descriptor=descriptors(0, 0xFF0000) + second_configuration)
    tree.plug("1-4", 1, 5, descriptor=descriptors(0, 0x080650)[:-2])
    assert [found.classes for found in scan(tree.sys, tree.udev)] == [
        ("ef0201", "0e0100", "0e0200"),
        ("030101", "080650"),
        ("ff0000", "020600"),
        ("080600",),
    ]


@pytest.fixture
def kernel_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lines of Debian 12's table."""
    (tmp_path / "modules.dep").write_text(
        "kernel/drivers/net/usb/ax88179_178a.ko: kernel/drivers/net/usb/usbnet.ko\n"
        "kernel/drivers/net/usb/cdc-phonet.ko.xz:\n"
        "kernel/drivers/usb/serial/ftdi_sio.ko: kernel/drivers/usb/serial/usbserial.ko\n"
    )
    (tmp_path / "modules.alias").write_text(
        "alias usb:v0B95p1790d*dc*dsc*dp*icFFiscFFip00in* ax88179_178a\n"
        "alias usb:v0421p*d*dc*dsc*dp*ic02iscFEip*in* cdc_phonet\n"
        "alias usb:v0421p00*dc*dsc*dp*icFFisc*ip*in* no_such_form\n"
        "alias usb:v0421p0001d[1-2]*dc*dsc*dp*icFFisc*ip*in02* cdc_phonet\n"
        "alias usb:v0403p6001d*dc*dsc*dp*ic*isc*ip*in* ftdi_sio\n"
        "alias pci:v00001000d* other\n"
    )
    monkeypatch.setattr(network_drivers, "modules", lambda: tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("vendor_id", "product_id", "interface", "expected"),
    [
        ("0b95", "1790", 0xFFFF00, True),
        ("0b95", "1790", 0xFF0000, False),
        ("0b95", "1791", 0xFFFF00, False),
        ("0421", "0001", 0xFF0102, True),
        ("0403", "6001", 0xFFFFFF, False),
    ],
)
def test_the_kernel_says_which_of_a_vendor_s_own_class_is_a_network_adapter(
    tree: Tree, kernel_modules: Path, vendor_id: str, product_id: str, interface: int, expected: bool
) -> None:
    tree.plug("1-1", 1, 2, vendor_id, product_id, descriptor=descriptors(0, interface))
    assert [found.network for found in scan(tree.sys, tree.udev)] == [expected]


def test_a_network_driver_that_no_table_has_is_seen_by_its_interface(
    tree: Tree, kernel_modules: Path
) -> None:
    directory = tree.plug("1-1", 1, 2, descriptor=descriptors(0, 0xFF0000))
    (directory / "1-1:1.0/net/wwan0").mkdir(parents=True)
    (kernel_modules / "modules.alias").unlink()
    network_drivers._aliases.cache_clear()
    assert [found.network for found in scan(tree.sys, tree.udev)] == [True]


@pytest.mark.parametrize("file", ["uevent", "descriptors", "speed"])
def test_a_device_that_goes_away_while_it_is_read_is_not_there(tree: Tree, file: str) -> None:
    directory = tree.plug("1-1", 1, 2)
    (directory / file).unlink()
    assert Inventory(tree.sys, tree.udev, tree.proc).read("1-1") is None


class Looks:
    """An inventory, and which files it reads."""

    def __init__(self, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
        self.inventory = Inventory(tree.sys, tree.udev, tree.proc)
        self.read: list[str] = []
        contents = files.contents

        def record(path: str) -> bytes:
            self.read.append(path)
            return contents(path)

        monkeypatch.setattr(files, "contents", record)


@pytest.fixture
def looks(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> Looks:
    boot_id(tree.proc)
    return Looks(tree, monkeypatch)


def test_what_stays_plugged_is_not_read_again(tree: Tree, looks: Looks) -> None:
    tree.plug("1-1", 1, 2, udev={"ID_MODEL_FROM_DATABASE": "Key"}, serial=b"1")
    tree.plug("1-2", 1, 3, descriptor=descriptors(9, 9))
    before = looks.inventory.scan()
    assert looks.read
    looks.read.clear()
    assert looks.inventory.scan() == before
    assert looks.read == []


def test_what_is_plugged_into_the_same_port_is_read(tree: Tree, looks: Looks) -> None:
    directory = tree.plug("1-1", 1, 2, serial=b"1")
    assert [found.serial for found in looks.inventory.scan()] == ["1"]
    (directory.parent / "kept").mkdir()  # so that the file system does not give out the same inode again
    shutil.move(directory, directory.parent / "kept")
    (tree.sys / "bus/usb/devices/1-1").unlink()
    assert looks.inventory.scan() == []
    tree.plug("1-1", 1, 2, serial=b"2")
    assert [found.serial for found in looks.inventory.scan()] == ["2"]


def test_the_name_that_udev_finds_later_is_seen(tree: Tree, looks: Looks) -> None:
    tree.plug("1-1", 1, 2)
    assert [found.name for found in looks.inventory.scan()] == [""]
    (tree.udev / "data/c189:1").write_text("E:ID_MODEL_FROM_DATABASE=Key\n")
    assert [found.name for found in looks.inventory.scan()] == ["Key"]
    os.utime(tree.udev / "data/c189:1", ns=(1, 1))
    (tree.udev / "data/c189:1").write_text("E:ID_MODEL_FROM_DATABASE=Other key\n")
    assert [found.name for found in looks.inventory.scan()] == ["Other key"]


def test_a_device_without_a_configuration_is_read_again(tree: Tree, looks: Looks) -> None:
    directory = tree.plug("1-1", 1, 2, descriptor=descriptors(0))
    assert [found.classes for found in looks.inventory.scan()] == [()]
    (directory / "descriptors").write_bytes(descriptors(0, 8))
    assert [found.classes for found in looks.inventory.scan()] == [("080000",)]


def test_a_network_interface_that_comes_later_is_seen(tree: Tree, looks: Looks, kernel_modules: Path) -> None:
    directory = tree.plug("1-1", 1, 2, descriptor=descriptors(0, 0xFF0000))
    (kernel_modules / "modules.alias").unlink()
    network_drivers._aliases.cache_clear()
    assert [found.network for found in looks.inventory.scan()] == [False]
    (directory / "1-1:1.0/net/wwan0").mkdir(parents=True)
    assert [found.network for found in looks.inventory.scan()] == [True]


@given(st.binary(max_size=64))
def test_no_descriptor_stops_the_reading(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    tree = Tree(tmp_path_factory.mktemp("tree"))
    tree.plug("1-1", 1, 2, descriptor=junk)
    found = Inventory(tree.sys, tree.udev, tree.proc).read("1-1")
    assert found is None or found.port == "1-1"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"<script>alert(1)</script>", "<script>alert(1)</script>"),
        (b"' OR 1=1 --", "' OR 1=1 --"),
        (b"two\nlines\r\x1b[31m", "two�lines��[31m"),
        (b"nul\x00", "nul�"),
        (b"\xff\xfe", "��"),
        ("מ\u202ea\u2066b".encode(), "מ�a�b"),
        (("\N{GRINNING FACE}" * 63).encode(), "\N{GRINNING FACE}" * 63),
    ],
)
def test_strings_are_made_harmless(raw: bytes, text: str) -> None:
    assert clean(raw) == text


@given(st.binary())
def test_whatever_comes_can_be_printed_stored_and_sent(raw: bytes) -> None:
    text = clean(raw)
    assert text.encode("utf-8").decode("utf-8") == text
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in text)
