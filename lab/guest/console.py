# SPDX-License-Identifier: Apache-2.0
"""What the tiny guest says on its console (lab/guest/init.sh)."""

from __future__ import annotations

import json

_LIST = "lab-guest: usb "


def usb_devices(console: str) -> list[str]:
    """The USB devices of the guest's last list, each as ``vid:pid serial product``; ``-`` for no serial."""
    lines = [line.partition(_LIST)[2] for line in console.splitlines() if _LIST in line]
    # The guest may be in the midst of its last line, or may have been switched off there.
    for line in reversed(lines):
        try:
            devices = json.loads(line)
        except ValueError:
            continue
        return [f"{item['id']} {item['serial'] or '-'} {item['product']}".rstrip() for item in devices]
    return []
