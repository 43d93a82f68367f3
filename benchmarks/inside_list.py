# SPDX-License-Identifier: Apache-2.0
"""Runs in the lab host: what one inventory pass costs, and one lsusb. Usage: inside_list.py ROUNDS.

Prints JSON: the number of devices, and seconds of each round.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

from compute_shim.agent import device_spec
from compute_shim.agent.discovery import Discovery


def main() -> None:
    discovery = Discovery(device_spec.parse(["{}"]))
    discovery.scan([])
    seconds: dict[str, list[float]] = {"pass": [], "lsusb": []}
    for _ in range(int(sys.argv[1])):
        began = time.perf_counter()
        found = discovery.scan([])
        seconds["pass"].append(time.perf_counter() - began)
        began = time.perf_counter()
        lines = subprocess.run(["lsusb"], capture_output=True, check=True).stdout.splitlines()
        seconds["lsusb"].append(time.perf_counter() - began)
    print(json.dumps({"devices": len(found), "lsusb_lines": len(lines), "seconds": seconds}))


if __name__ == "__main__":
    main()
