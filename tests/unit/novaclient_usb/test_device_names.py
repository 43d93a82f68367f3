# SPDX-License-Identifier: Apache-2.0
"""How a DEVICE on the command line finds its device, and how a device is shown."""

from __future__ import annotations

import unicodedata
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novaclient_usb import names

BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}

# What a device may say of itself: anything, or on purpose what people might type for another device.
ids = st.sampled_from([str(uuid.UUID(int=0xABC0 + number)) for number in range(4)])
busnum = st.integers(1, 3)
deceptive = st.one_of(
    ids,
    st.sampled_from(["", "1:1", "001:002", "3:3", "1-1", "1-2", "0781:5567", "1234:5678", "stick"]),
    st.text(max_size=4),
)
sticks = st.fixed_dictionaries(
    {
        "id": ids,
        "vendor_id": st.sampled_from(["0781", "1234"]),
        "product_id": st.sampled_from(["5567", "5678"]),
        "name": deceptive,
        "serial": deceptive,
        "bus": busnum,
        "device": busnum,
        "port": st.sampled_from(["1-1", "1-2"]),
    }
)
hosts = st.lists(sticks, max_size=4, unique_by=lambda device: device["id"])


def find(devices: list[dict[str, Any]], wanted: str) -> dict[str, Any]:
    return names.find_device(devices, wanted, "Look around.")


def ids_in(message: str, devices: list[dict[str, Any]]) -> list[str]:
    """The ids of the devices that an error lists, in its order."""
    listed = [line.split()[0] for line in message.splitlines()[1:]]
    assert all(any(device["id"] == name for device in devices) for name in listed)
    return listed


@given(hosts, deceptive)
def test_finds_what_is_called_so_or_lists_all_that_are(devices: list[dict[str, Any]], wanted: str) -> None:
    """The rule, told anew: an id is only an id; all else is compared with all that a device is called."""

    def forms(device: dict[str, Any]) -> set[str]:
        bus, number = device["bus"], device["device"]
        return {
            device["name"],
            device["serial"],
            device["port"],
            f"{device['vendor_id']}:{device['product_id']}",
            f"{bus}:{number}",
            f"{bus:03}:{number:03}",
        } - {""}

    if wanted.count("-") == 4 and len(wanted) == 36:
        expected = [device for device in devices if device["id"] == wanted]
    else:
        expected = [device for device in devices if wanted in forms(device)]

    if len(expected) == 1:
        assert find(devices, wanted) is expected[0]
    elif not expected:
        with pytest.raises(names.DeviceNotFound, match="Look around"):
            find(devices, wanted)
    else:
        with pytest.raises(names.AmbiguousDevice) as caught:
            find(devices, wanted)
        assert ids_in(str(caught.value), devices) == [device["id"] for device in expected]


@given(hosts)
def test_every_device_has_a_name_that_finds_it(devices: list[dict[str, Any]]) -> None:
    for device in devices:
        assert find(devices, device["id"]) is device
        assert find(devices, device["id"].upper()) is device


@given(hosts.filter(bool), st.data())
def test_what_the_others_say_never_gets_them_attached_in_place_of_it(
    devices: list[dict[str, Any]], data: st.DataObject
) -> None:
    """A device is found by its port or its model, or nothing is: never another device alone."""
    device = data.draw(st.sampled_from(devices))
    wanted = data.draw(
        st.sampled_from(
            [
                f"{device['bus']}:{device['device']}",
                f"{device['bus']:03}:{device['device']:03}",
                f"{device['vendor_id']}:{device['product_id']}",
                device["port"],
            ]
        )
    )
    try:
        assert find(devices, wanted) is device
    except names.AmbiguousDevice as error:
        assert device["id"] in ids_in(str(error), devices)


def test_an_id_of_a_device_that_is_gone_does_not_find_one_that_imitates_it(make_device: Any) -> None:
    gone = str(uuid.UUID(int=7))
    imitator = make_device(serial=gone, name=gone)
    with pytest.raises(names.DeviceNotFound):
        find([imitator], gone)


def test_hexadecimal_digits_of_either_case(make_device: Any) -> None:
    keyboard = make_device(vendor_id="046d", product_id="c52b")
    assert find([keyboard], "046D:C52B") is keyboard


@pytest.mark.parametrize("wanted", ["", "0", "0002:03", "\uff12:\uff13", ":", "9" * 5000 + ":1", "-", "{}"])
def test_odd_texts(make_device: Any, wanted: str) -> None:
    """``0002:03`` is the device at 2:3, the others are nothing; none is a traceback."""
    bare = make_device(serial="", name="")
    if wanted == "0002:03":
        assert find([bare], wanted) is bare
    else:
        with pytest.raises(names.DeviceNotFound):
            find([bare], wanted)


@given(st.text(alphabet=st.characters()))
def test_printable_text_steers_no_terminal_and_keeps_its_length(text: str) -> None:
    shown = names.printable(text)
    assert len(shown) == len(text)
    assert len((shown + "x").splitlines()) == 1
    assert not any(unicodedata.category(char) == "Cc" for char in shown)
    assert not any(unicodedata.bidirectional(char) in BIDI for char in shown)
    assert not set(shown) & set("\u200e\u200f\u061c\u200b\ufeff\u00ad")
    shown.encode()
    assert names.printable(shown) == shown


@pytest.mark.parametrize("char", "\0\t\n\r\x1b\x7f\x85\x9b\u2028\u2029\u202e\u2066\ud800\udcff\U000e0041")
def test_each_of_these_is_replaced(char: str) -> None:
    assert names.printable(f"a{char}b") == "a\ufffdb"


@pytest.mark.parametrize("text", ["", "SanDisk Corp. Cruzer Blade", "Größe & <b>'\"", "中文 カメラ é", "👍"])
def test_honest_text_stays_as_it_is(text: str) -> None:
    assert names.printable(text) == text


def test_lsusb_line(make_device: Any) -> None:
    line = "Bus 002 Device 003: ID 0781:5567 SanDisk Corp. Cruzer Blade"
    assert names.lsusb_line(make_device()) == line
    assert names.lsusb_line(make_device(bus=12, device=127, name="")) == "Bus 012 Device 127: ID 0781:5567"
    assert names.lsusb_line(make_device(bus=None, device=None, name="x\ny")) == (
        "Bus --- Device ---: ID 0781:5567 x\ufffdy"
    )
