# SPDX-License-Identifier: Apache-2.0
"""The notes in a container's metadata that say which hostdevs are ours."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from compute_shim.hypervisor.base import Hostdev
from compute_shim.hypervisor.libvirt import lxc_metadata

ADDRESSES = st.tuples(st.integers(1, 9), st.integers(1, 127))
MARKS = st.dictionaries(st.uuids().map(str), ADDRESSES, max_size=4)


def domain(ours: Mapping[str, tuple[int, int]]) -> str:
    """A domain's XML with the notes as libvirt 9.0 keeps them: every element is put into our namespace."""
    metadata = ElementTree.Element("metadata")
    ElementTree.SubElement(metadata, "{urn:nova}instance")
    text = lxc_metadata.written(ours)
    if text is not None:
        element = ElementTree.fromstring(text)
        for each in element.iter():
            each.tag = f"{{{lxc_metadata.NAMESPACE}}}{each.tag}"
        metadata.append(element)
    return f"<domain type='lxc' id='7'>{ElementTree.tostring(metadata, encoding='unicode')}</domain>"


@given(MARKS)
def test_what_is_written_is_read_back(ours: dict[str, tuple[int, int]]) -> None:
    assert lxc_metadata.read(domain(ours)) == ours


def test_no_notes_leave_no_element() -> None:
    assert lxc_metadata.written({}) is None
    assert lxc_metadata.read("<domain type='lxc'/>") == {}


def test_ours_is_named_and_what_an_operator_gave_is_not() -> None:
    found = lxc_metadata.applied(
        [Hostdev(None, 2, 3), Hostdev(None, 2, 4)], {"one": (2, 3)}, has=lambda address: True
    )
    assert found == (Hostdev(None, 2, 4), Hostdev("ua-usb-one", 2, 3))
    assert [hostdev.device_id for hostdev in found] == [None, "one"]


def test_a_place_is_empty_without_a_hostdev_or_without_its_node() -> None:
    noted = {"attach cut short": (2, 3), "node gone": (2, 4), "there": (2, 5)}
    found = lxc_metadata.applied(
        [Hostdev(None, 2, 4), Hostdev(None, 2, 5)], noted, has=lambda address: address != (2, 4)
    )
    assert {hostdev.device_id: hostdev.missing for hostdev in found} == {
        "attach cut short": True,
        "node gone": True,
        "there": False,
    }
