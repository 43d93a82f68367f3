# SPDX-License-Identifier: Apache-2.0
"""Commands of ``usb-shim-manage`` for a compute host: its devices, and what the rules make of them.

They read what the agent reads, and need neither the agent nor the service.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from oslo_config import cfg

from compute_shim.agent import device_spec, inventory, shield
from compute_shim.agent.device_spec import Rule
from compute_shim.agent.host_use import HostUse
from compute_shim.hypervisor.libvirt import lxc_devices, qemu_process
from compute_shim.objects import Plugged, Reason


def add_commands(subparsers: Any) -> None:
    """Add ``devices`` and ``device-spec check``."""
    devices = subparsers.add_parser(
        "devices", help="list the USB devices of this host, and which rule of [usb] device_spec decides"
    )
    devices.set_defaults(run=_devices)
    specs = subparsers.add_parser("device-spec", help="the rules of [usb] device_spec")
    check = specs.add_subparsers(dest="action", required=True).add_parser(
        "check", help="check the rules, and explain what they decide on each USB device of this host"
    )
    check.set_defaults(run=_check)
    shields = subparsers.add_parser("shield", help="what keeps this host from the devices that are offered")
    remove = shields.add_subparsers(dest="action", required=True).add_parser(
        "remove", help="give the devices back to the host; an agent that runs shields them again"
    )
    remove.set_defaults(run=_remove_shield)


def _devices(conf: cfg.ConfigOpts) -> None:
    _show_whatever_comes()
    rules, plugged = device_spec.parse(conf.usb.device_spec), inventory.scan()
    used = _used(plugged)
    rows = [_row(rules, used, device) for device in plugged]
    for line in _table(rows):
        print(line)


def _check(conf: cfg.ConfigOpts) -> None:
    _show_whatever_comes()
    rules, plugged = device_spec.parse(conf.usb.device_spec), inventory.scan()
    used = _used(plugged)
    print(f"{len(rules)} rules in [usb] device_spec")
    for device in plugged:
        print()
        for line in _explanation(rules, used, device):
            print(line)


def _remove_shield(conf: cfg.ConfigOpts) -> int:
    shield.Shield(lambda device: False, rules=shield.RULES, reload=shield.reload_udev).remove()
    return int(shield.RULES.exists())


def _show_whatever_comes() -> None:
    """Replace characters that the terminal cannot show, so that the list is complete."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _used(plugged: Sequence[Plugged]) -> dict[str, Reason]:
    if os.geteuid() != 0:
        print("usb-shim-manage: Only root sees all that this host uses itself.", file=sys.stderr)
    return HostUse(_is_server).reasons([device.port for device in plugged])


def _is_server(pid: int) -> bool:
    """Whether a process is a server of either hypervisor: the libvirt daemon is not asked."""
    return qemu_process.is_domain(pid) or lxc_devices.is_inside(pid)


def _row(rules: Sequence[Rule], used: dict[str, Reason], device: Plugged) -> dict[str, str]:
    rule = device_spec.decide(rules, device)
    return {
        "socket": device.socket or "",
        "port": device.port,
        "bus:device": f"{device.bus:03}:{device.device:03}",
        "id": f"{device.vendor_id}:{device.product_id}",
        "serial": device.serial,
        "classes": " ".join(device.classes),
        "name": device.name,
        "rule": "none" if rule is None else f"{rule.number}: {rule.text}",
        "offered": _offered(rule, used.get(device.port)),
    }


def _offered(rule: Rule | None, use: Reason | None) -> str:
    if rule is None:
        return "no: no rule matches"
    if not rule.allow:
        return f"no: refused by rule {rule.number}"
    return "yes" if use is None else f"no: {use.text}"


def _table(rows: Sequence[dict[str, str]]) -> Iterator[str]:
    """The lines of a table, without the columns that are empty."""
    keys = [key for key in (rows[0] if rows else ()) if any(row[key] for row in rows)]
    shown = [dict(zip(keys, map(str.upper, keys), strict=True)), *rows]
    widths = {key: max(len(row[key]) for row in shown) for key in keys}
    for row in shown if rows else ():
        yield "  ".join((row[key] or "-").ljust(widths[key]) for key in keys).rstrip()


def _explanation(rules: Sequence[Rule], used: dict[str, Reason], device: Plugged) -> Iterator[str]:
    """Which rule matches a device, and why no earlier rule does."""
    row = _row(rules, used, device)
    about = f"port {device.port}, serial {device.serial!r}, classes {row['classes']}"
    yield f"{row['id']} {device.name} ({about})"
    for rule in rules:
        mismatch = rule.mismatch(device)
        if mismatch is None:
            yield f"  rule {rule.number} matches: {rule.text}"
            break
        yield f"  rule {rule.number} does not match: {rule.text}: {mismatch}"
    yield f"  offered: {row['offered']}"
