# SPDX-License-Identifier: Apache-2.0
"""Check that the agents run on compute hosts of the Nova in ``[nova]``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from keystoneauth1 import exceptions as ks_exceptions
from keystoneauth1 import plugin as ks_plugin
from oslo_config import cfg

from compute_shim import exception, liveness, nova
from compute_shim.db import models, queries
from compute_shim.db.api import Database

_NO_CREDENTIALS = (
    "[nova] auth_type is not set, so devices of deleted servers are not released. Set it to password, and the"
    " credentials of a user who may list the servers of all projects."
)


@dataclasses.dataclass(frozen=True)
class Found:
    """Findings for the operator.

    :param error: why the conductor cannot query Nova, None if it can.
    :param warnings: what else looks wrong, each a sentence or two.
    """

    error: str | None = None
    warnings: tuple[str, ...] = ()


def region_obstacle(nova_: nova.Nova, auth: ks_plugin.BaseAuthPlugin) -> str | None:
    """Why Nova's answers about deleted servers cannot be trusted, None if they can."""
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


def check(conf: cfg.ConfigOpts, db: Database | None) -> Found:
    """Run all checks that are possible now.

    :param conf: with the group ``[nova]`` registered.
    :param db: None if it cannot be used: then no host is known.
    """
    up = liveness.Window.now(conf)
    hosts = queries.hosts(db) if db is not None else []
    nova_ = nova.Nova(conf)
    auth = nova_.service_auth()
    if auth is None:
        return Found(warnings=(_NO_CREDENTIALS, *_renamed(db, hosts, up, set())))
    obstacle = region_obstacle(nova_, auth)
    if obstacle is not None:
        return Found(obstacle[0].upper() + obstacle[1:])
    try:
        services = nova_.compute_services(auth)
    except exception.Forbidden as error:
        return Found(
            f"{error} Grant it the role admin: openstack role add --project PROJECT --user USER admin"
        )
    except (exception.ApiError, ks_exceptions.ClientException) as error:
        reason = error.__cause__ or error
        return Found(f"Nova does not answer: {reason}. Check that it runs, and its endpoint in the catalog.")
    known = set(services)
    return Found(
        warnings=(*_unknown(hosts, up, known), *_down(services, hosts), *_renamed(db, hosts, up, known))
    )


def _down(services: Mapping[str, bool], hosts: Sequence[models.Host]) -> list[str]:
    names = [host.host for host in hosts if not services.get(host.host, True)]
    return [f"nova-compute is down on {', '.join(names)}. Start it."] if names else []


def _unknown(hosts: Sequence[models.Host], up: liveness.Window, known: set[str]) -> list[str]:
    names = [host.host for host in hosts if host.last_seen in up and host.host not in known]
    if not names:
        return []
    text = (
        f"Nova has no nova-compute on {', '.join(names)}: a renamed host, or another region's Nova. [DEFAULT]"
        " host of usb-shim-agent and of nova-compute must be the same, and [nova] region_name theirs."
    )
    return [text]


def _renamed(
    db: Database | None, hosts: Sequence[models.Host], up: liveness.Window, known: set[str]
) -> list[str]:
    """Hosts that are down whose devices another host has now."""
    down = [host.host for host in hosts if host.last_seen not in up]
    devices = _serial_numbers(db) if down and db is not None else {}
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
