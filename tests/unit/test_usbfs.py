# SPDX-License-Identifier: Apache-2.0
"""Device numbers of USB devices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_shim import usbfs

_NUMBERS = st.tuples(st.integers(1, 64), st.integers(1, 127))


@pytest.mark.parametrize(("bus", "device", "minor"), [(1, 1, 0), (1, 3, 2), (2, 1, 128), (2, 13, 140)])
def test_the_kernel_numbers_them_so(bus: int, device: int, minor: int) -> None:
    assert usbfs.minor(bus, device) == minor


@given(_NUMBERS, _NUMBERS)
def test_no_two_devices_share_a_number(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert (usbfs.minor(*one) == usbfs.minor(*other)) == (one == other)
