# SPDX-License-Identifier: Apache-2.0
"""What ``make -n`` may do: print."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "target", ["test-cloud", "test-lab", "test", "demo", "demo-down", "chaos", "storm", "lint"]
)
def test_a_dry_run_runs_nothing(tmp_path: Path, target: str) -> None:
    marker = tmp_path / "ran"
    command = ["make", "--dry-run", f"PYTHON=touch {marker};", target]
    # Without what a `make test` that runs this one says to its own makes.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=True)
    assert f"touch {marker}" in done.stdout
    assert not marker.exists()
