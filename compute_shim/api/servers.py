# SPDX-License-Identifier: Apache-2.0
"""Servers: they are Nova's, and the caller's own token decides which of them the caller may see."""

from __future__ import annotations

from oslo_policy import policy

from compute_shim import exception, liveness, nova
from compute_shim.api import validation
from compute_shim.api.call import Call
from compute_shim.db import instances, models, queries
from compute_shim.policies import attachments as policies
from novaclient_usb.reason_codes import ReasonCode


def find(call: Call, server_id: str) -> nova.Server:
    """A server of the caller's.

    :raises compute_shim.exception.NotFound: there is none of that id, or it is not the caller's
    :raises compute_shim.exception.Unavailable: Nova cannot be asked
    """
    known_id = validation.uuid(server_id)
    if known_id is None:
        raise nova.no_server(server_id)
    server = call.service.nova.server(call.token, known_id)
    if server.project_id != call.project_id and not call.may(policies.ANY_SERVER, target(server)):
        raise nova.no_server(server_id)
    return server


def find_to_change(call: Call, rule: policy.DocumentedRuleDefault, server_id: str) -> nova.Server:
    """A server of the caller's with which the caller may do this.

    :raises compute_shim.exception.ApiError: as `find`, `authorize` and `refuse_locked` do
    """
    server = find(call, server_id)
    authorize(call, rule, server)
    refuse_locked(call, server)
    return server


def own(call: Call) -> list[nova.Server]:
    """The servers of the caller's project.

    :raises compute_shim.exception.Unavailable: Nova cannot be asked
    """
    return call.service.nova.own_servers(call.token)


def target(owned: nova.Server | models.Device) -> dict[str, str | None]:
    """What a policy is asked about: whose server, or whose claim on a device, it is."""
    return {"project_id": owned.project_id, "user_id": owned.user_id}


def authorize(call: Call, rule: policy.DocumentedRuleDefault, server: nova.Server) -> None:
    """Go on only if the policy allows this with a server that `find` found.

    With a server of another project, ``any_server`` allowed it, and the rule itself in the caller's own.

    :raises compute_shim.exception.Forbidden: it does not
    """
    if server.project_id == call.project_id:
        call.authorize(rule, target(server))


def refuse_locked(call: Call, server: nova.Server) -> None:
    """Refuse changes to a locked server, unless the caller could unlock it.

    :raises compute_shim.exception.Conflict: it is locked
    """
    if server.locked and not call.may(policies.ANY_SERVER, target(server)):
        raise exception.Conflict(f"Server {server.id} is locked. Unlock it first.", ReasonCode.SERVER_LOCKED)


def live_host(call: Call, server: nova.Server, *likely: str) -> str:
    """The host of a server, if the agent there is up.

    :param likely: names to try first.
    :raises compute_shim.exception.Conflict: the server is not on a host
    :raises compute_shim.exception.Unavailable: there is no agent, or it is down
    """
    if not server.host_id:
        raise exception.Conflict(
            f"Server {server.id} is not on a host. Start it first.", ReasonCode.SERVER_NOT_ON_HOST
        )
    found = instances.host_of(call.service.db, server, *likely)
    up = liveness.Window.now(call.service.conf)
    if found is None or not queries.hosts_up(call.service.db, up, [found]):
        raise exception.Unavailable(
            f"The USB agent on the host of server {server.id} is down. Contact your cloud administrator.",
            ReasonCode.HOST_DOWN,
        )
    return found
