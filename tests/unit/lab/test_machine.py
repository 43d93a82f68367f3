# SPDX-License-Identifier: Apache-2.0
"""How a lab host is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.host.machine import clock_parameters


@pytest.mark.parametrize(
    ("cpuinfo", "parameters"),
    [
        ("processor\t: 0\nbogomips\t: 4599.99\nflags\t\t: tsc\n", ["tsc_early_khz=2299995"]),
        ("bogomips\t: 4599.99\nbogomips\t: 4600.01\n", ["tsc_early_khz=2299995"]),
        ("processor\t: 0\n", []),
    ],
)
def test_a_lab_host_is_told_how_fast_its_clock_counts(
    tmp_path: Path, cpuinfo: str, parameters: list[str]
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(cpuinfo)
    assert clock_parameters(file) == parameters
