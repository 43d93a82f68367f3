# SPDX-License-Identifier: Apache-2.0
"""What ``make -n`` may do: print."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[3]
# Without what a `make test` that runs this one says to its own makes.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}


@pytest.mark.parametrize(
    "target", ["test-cloud", "test-lab", "test", "demo", "demo-down", "chaos", "storm", "hammer", "lint"]
)
def test_a_dry_run_runs_nothing(tmp_path: Path, target: str) -> None:
    marker = tmp_path / "ran"
    command = ["make", "--dry-run", f"PYTHON=touch {marker};", target]
    done = subprocess.run(command, cwd=_ROOT, env=_ENVIRONMENT, capture_output=True, text=True, check=True)
    assert f"touch {marker}" in done.stdout
    assert not marker.exists()


def test_the_parts_of_the_lab_s_tests_are_all_of_them_once() -> None:
    command = ["make", "--dry-run", "--no-print-directory", "test"]
    done = subprocess.run(command, cwd=_ROOT, env=_ENVIRONMENT, capture_output=True, text=True, check=True)
    patterns = re.findall(r"tests/lab/\S+\.py", done.stdout)
    files = [path for pattern in patterns for path in _ROOT.glob(pattern)]
    assert sorted(files) == sorted(_ROOT.glob("tests/lab/test_*.py"))
    assert len(patterns) > 1
    # pytest ends with an error for a file that does not exist.
    assert all(list(_ROOT.glob(pattern)) for pattern in patterns)
