# SPDX-License-Identifier: Apache-2.0
"""Is the Nova of ``[nova]`` the one whose compute hosts the agents run on?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from keystoneauth1 import exceptions as ks_exceptions
from keystoneauth1 import plugin as ks_plugin
from oslo_config import cfg

from compute_shim import exception, liveness, nova
from compute_shim.db import models, queries
from compute_shim.db.api import Database


@dataclasses.dataclass(frozen=True)
class Found:
    """What the operator should know.

    :param error: what keeps the conductor from releasing claims, None if nothing does.
    :param warnings: what else looks wrong, each a sentence or two.
    """

    error: str | None = None
    warnings: tuple[str, ...] = ()


def region_obstacle(nova_: nova.Nova, auth: ks_plugin.BaseAuthPlugin) -> str | None:
    """Why Nova's word on deleted servers cannot be trusted, None if it can."""
    try:
        regions = nova_.regions(auth)
    except exception.ApiError as error:
        return f"the regions of the catalog are unknown: {error}"
    if len(regions) < 2:
        return None
    return (
        f"the catalog has the regions {', '.join(sorted(regions))}. Set [nova] region_name to the one whose"
        " compute hosts run usb-shim-agent."
    )


def check(conf: cfg.ConfigOpts, db: Database) -> Found:
    """Everything that can be found out now.

    :param conf: with the group ``[nova]`` registered.
    """
    up = liveness.Window.now(conf)
    hosts = queries.hosts(db)
    nova_ = nova.Nova(conf)
    try:
        auth = nova_.service_auth()
        if auth is None:
            return Found(warnings=tuple(_renamed(db, hosts, up, set())))
        obstacle = region_obstacle(nova_, auth)
        if obstacle is not None:
            return Found(obstacle[0].upper() + obstacle[1:])
        known = nova_.compute_hosts(auth)
    except (exception.ApiError, ks_exceptions.ClientException) as error:
        return Found(warnings=(f"The compute hosts could not be retrieved from Nova: {error}",))
    renamed = _renamed(db, hosts, up, known)
    return Found(warnings=(*_unknown(hosts, up, known), *renamed))


def _unknown(hosts: Sequence[models.Host], up: liveness.Window, known: set[str]) -> list[str]:
    names = [host.host for host in hosts if host.last_seen in up and host.host not in known]
    if not names:
        return []
    text = (
        f"Nova has no nova-compute on {', '.join(names)}: a renamed host, or another region's Nova. [DEFAULT]"
        " host of usb-shim-agent and of nova-compute must be the same, and [nova] region_name theirs."
    )
    return [text]


def _renamed(db: Database, hosts: Sequence[models.Host], up: liveness.Window, known: set[str]) -> list[str]:
    """Hosts that are down whose devices another host has now."""
    down = [host.host for host in hosts if host.last_seen not in up]
    devices = _serial_numbers(db) if down else {}
    found = []
    for old in down:
        for host in hosts:
            shared = devices.get(old, set()) & devices.get(host.host, set())
            if host.last_seen in up and shared:
                found.append(_explain(old, host.host, len(shared), known))
    return found


def _explain(old: str, new: str, count: int, known: set[str]) -> str:
    text = f"Host {old} is down and host {new} has {count} of its USB devices: probably it was renamed."
    if old in known and new not in known:
        return f"{text} Nova knows it as {old}: set [DEFAULT] host to that for usb-shim-agent on {new}."
    return f"{text} Then delete the old one: usb-shim-manage host delete {old}"


def _serial_numbers(db: Database) -> dict[str, set[str]]:
    """Host -> identities of devices that have a serial number; those without look alike everywhere."""
    found: dict[str, set[str]] = {}
    for row in queries.devices(db, models.Device.serial != ""):
        found.setdefault(row.host, set()).add(row.identity)
    return found
