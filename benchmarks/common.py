# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share. Import it first: it gives their lab a directory of its own."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
os.environ["LAB_RUN"] = str(ROOT / "lab/run/benchmark")
sys.path.insert(0, str(ROOT))

from compute_shim.cmd import native_threads  # noqa: E402, F401  before anything imports oslo.messaging
from lab.cloud.site import VENV  # noqa: E402
from lab.stack import Stack  # noqa: E402

IDLE_SECONDS = 60


def run_inside(stack: Stack, script: str, *arguments: str) -> Any:
    """Run a script of this directory in the lab host; what it prints is JSON."""
    command = [str(VENV / "bin/python"), f"{ROOT}/benchmarks/{script}", *arguments]
    return json.loads(stack.host.run(["env", f"PYTHONPATH={ROOT}", *command], timeout=1200).stdout)


def percentiles(seconds: list[float]) -> tuple[float, float]:
    """p50 and p95."""
    return statistics.median(seconds), statistics.quantiles(seconds, n=20, method="inclusive")[18]


def table(rows: dict[str, list[float]], baseline: str) -> str:
    """Each row's percentiles in milliseconds, and its ratio to the baseline's."""
    base = percentiles(rows[baseline])
    lines = [f"{'':42} {'rounds':>6} {'p50 ms':>9} {'p95 ms':>9} {'ratio p50':>10} {'ratio p95':>10}"]
    for name, seconds in rows.items():
        p50, p95 = percentiles(seconds)
        lines.append(
            f"{name:42} {len(seconds):6} {p50 * 1e3:9.1f} {p95 * 1e3:9.1f}"
            f" {p50 / base[0]:10.2f} {p95 / base[1]:10.2f}"
        )
    return "\n".join(lines)


def agent_at_rest(stack: Stack) -> str:
    """The memory of the agent, and the time of the processor that it takes while nothing happens."""
    before, resident = _agent(stack)
    time.sleep(IDLE_SECONDS)
    after, _ = _agent(stack)
    return (
        f"agent: resident memory {resident:.1f} MiB; {after - before:.2f} s of processor time in"
        f" {IDLE_SECONDS} s at rest ({100 * (after - before) / IDLE_SECONDS:.1f} %, under emulation)"
    )


def _agent(stack: Stack) -> tuple[float, float]:
    """Processor time in seconds, and resident memory in MiB (proc(5): stat fields 14 and 15, VmRSS)."""
    pid = stack.agent.pid()
    text = stack.host.run(f"getconf CLK_TCK; cat /proc/{pid}/stat; grep VmRSS /proc/{pid}/status").stdout
    ticks, stat, resident = text.splitlines()
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / int(ticks), int(resident.split()[1]) / 1024
