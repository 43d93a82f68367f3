# SPDX-License-Identifier: Apache-2.0
"""What the tiny guest says on its console (lab/guest/init.sh)."""

from __future__ import annotations

import json

_LIST = "lab-guest: usb "


def usb_devices(console: str) -> list[str]:
    """The USB devices of the guest's last list, each as ``vid:pid serial product``; ``-`` for no serial."""
    return [f"{it['id']} {it['serial'] or '-'} {it['product']}".rstrip() for it in _last_list(console)]


def begins(console: str, serial: str) -> str | None:
    """What the disk with a serial number begins with, letters, digits and dashes; None if there is none."""
    return next((it["begins"] for it in _last_list(console) if it["serial"] == serial), None)


def _last_list(console: str) -> list[dict[str, str]]:
    lines = [line.partition(_LIST)[2] for line in console.splitlines() if _LIST in line]
    # The guest may be in the midst of its last line, or may have been switched off there.
    for line in reversed(lines):
        try:
            devices: list[dict[str, str]] = json.loads(line)
        except ValueError:
            continue
        return devices
    return []
