# SPDX-License-Identifier: Apache-2.0
"""Reading devices from sysfs and udev, and knowing them again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_shim.agent.inventory import clean, identify, read, scan
from compute_shim.objects import Plugged
from tests.unit.agent.tree import Tree, descriptors


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_a_stick(tree: Tree) -> None:
    tree.plug(
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
    assert scan(tree.sys, tree.udev) == [
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
        )
    ]


def test_names_fall_back_one_by_one_to_the_strings_of_the_device(tree: Tree) -> None:
    """As lsusb does: each of the two names by itself."""
    tree.plug(
        "1-1", 1, 2, udev={"ID_VENDOR_FROM_DATABASE": "Yubico.com"}, manufacturer=b"Yubi", product=b"Key"
    )
    tree.plug("1-2", 1, 3, manufacturer=b"Acme & S\xc3\xb6ns <x>", product=b"Tok\xc3\xa9n 'q'")
    tree.plug("1-3", 1, 4)
    assert [found.name for found in scan(tree.sys, tree.udev)] == [
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
    assert [found.port for found in scan(tree.sys, tree.udev)] == ["1-3"]


def test_a_host_without_usb_has_no_devices(tmp_path: Path) -> None:
    assert scan(tmp_path / "sys", tmp_path / "udev") == []


def test_the_class_is_that_of_the_device_or_else_of_its_first_interface(tree: Tree) -> None:
    tree.plug("1-1", 1, 2, descriptor=descriptors(0xEF, 3, 8))
    tree.plug("1-2", 1, 3, descriptor=descriptors(0, 3, 8))
    tree.plug("1-3", 1, 4, descriptor=descriptors(0))
    assert [found.device_class for found in scan(tree.sys, tree.udev)] == ["ef", "03", "00"]


@pytest.mark.parametrize("file", ["uevent", "descriptors", "speed"])
def test_a_device_that_goes_away_while_it_is_read_is_not_there(tree: Tree, file: str) -> None:
    directory = tree.plug("1-1", 1, 2)
    (directory / file).unlink()
    assert read("1-1", tree.sys, tree.udev) is None


@given(st.binary(max_size=64))
def test_no_descriptor_stops_the_reading(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    tree = Tree(tmp_path_factory.mktemp("tree"))
    tree.plug("1-1", 1, 2, descriptor=junk)
    found = read("1-1", tree.sys, tree.udev)
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


def stick(port: str, serial: str = "S", device: int = 2) -> Plugged:
    return Plugged("x", "46f4", "0001", "", "", serial, "08", "5000", port, int(port[0]), device)


def identities(plugged: list[Plugged], held: dict[str, str] | None = None) -> dict[str, str]:
    return {found.port: found.identity for found in identify(plugged, held or {})}


def test_a_device_with_a_serial_is_known_by_it_in_any_port() -> None:
    assert identities([stick("2-1")]) == {"2-1": "46f4:0001:S"}
    assert identities([stick("1-4")]) == {"1-4": "46f4:0001:S"}


@pytest.mark.parametrize("serial", ["", "  "])
def test_a_device_without_a_serial_is_known_by_its_port(serial: str) -> None:
    assert identities([stick("2-1", serial)]) == {"2-1": "46f4:0001@2-1"}


def test_twins_are_told_apart_by_their_ports() -> None:
    assert identities([stick("2-1"), stick("2-2", "S ")]) == {
        "2-1": "46f4:0001@2-1",
        "2-2": "46f4:0001@2-2",
    }


def test_a_held_device_keeps_its_identity_when_a_twin_comes() -> None:
    assert identities([stick("2-1"), stick("2-2")], {"46f4:0001:S": "2-2"}) == {
        "2-1": "46f4:0001@2-1",
        "2-2": "46f4:0001:S",
    }


def test_a_held_device_keeps_its_identity_when_its_twin_goes() -> None:
    assert identities([stick("2-1")], {"46f4:0001@2-1": "2-1"}) == {"2-1": "46f4:0001@2-1"}


_ports = st.sampled_from([f"{bus}-{port}" for bus in (1, 2) for port in range(1, 6)])


@given(
    st.lists(st.tuples(_ports, st.sampled_from(["", "S", "T"])), unique_by=lambda item: item[0]),
    st.dictionaries(st.sampled_from(["46f4:0001:S", "46f4:0001:T", "46f4:0001@2-1"]), _ports),
)
def test_no_two_devices_ever_share_an_identity(plugged: list[tuple[str, str]], held: dict[str, str]) -> None:
    found = identify([stick(port, serial) for port, serial in plugged], held)
    assert len({device.identity for device in found}) == len(plugged)


def test_a_serial_cannot_forge_the_identity_of_a_port() -> None:
    forged = dataclasses.replace(stick("2-2"), serial="@2-1")
    assert len(set(identities([stick("2-1", ""), forged]).values())) == 2
