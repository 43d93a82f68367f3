# SPDX-License-Identifier: Apache-2.0
"""Decide what to do with a claim in doubt, given the evidence about its server. Pure functions."""

from __future__ import annotations

import dataclasses
import enum

from compute_shim import nova
from compute_shim.objects import SERVER_ABSENT, ReasonCode


class NovaSays(enum.Enum):
    """What Nova reports about a server that it does not show."""

    #: The server is deleted and cannot be restored.
    DELETED = "deleted"
    #: Nova has no record of it: it was purged from the database, or never existed.
    NO_RECORD = "no record"
    #: An error, a refusal, a soft-deleted server: no proof of anything.
    UNCLEAR = "unclear"


@dataclasses.dataclass(frozen=True)
class Claim:
    """The fields of a claim that a decision depends on.

    :param host: where the server has to be: that of the device, unless that is used over the network.
    :param reason_code: why the claim is not fulfilled, None if it is, or if the reason is unknown.
    """

    host: str
    reason_code: str | None


@dataclasses.dataclass(frozen=True)
class Evidence:
    """The evidence about the server of a claim.

    :param nova: the server as Nova shows it, or Nova's answer instead.
    :param knows_host: Nova has a nova-compute on the claim's host, so it is the Nova of that host.
    :param host_up: the agent of the claim's host is up.
    :param tells_domains: that agent reports all domains of its host (RPC 1.1).
    :param domain_seen: some agent that is up reports the server's domain.
    """

    nova: nova.Server | NovaSays
    knows_host: bool
    host_up: bool
    tells_domains: bool
    domain_seen: bool


@dataclasses.dataclass(frozen=True)
class Release:
    """The server is gone: release the device."""


@dataclasses.dataclass(frozen=True)
class Locate:
    """The server is not running where its device is plugged in.

    :param code: tells where it is instead.
    """

    code: ReasonCode


@dataclasses.dataclass(frozen=True)
class Nothing:
    """Leave the claim unchanged."""


Decision = Release | Locate | Nothing

# Why a claim waits whose server is on another host.
_ELSEWHERE = (
    ReasonCode.SERVER_ON_OTHER_HOST,
    ReasonCode.KIND_NOT_FREE,
    ReasonCode.NO_NETWORK_TRANSPORT,
)
# Of an agent of RPC 1.0, these say that there is no domain: it told "server_off" of one that it saw.
_NO_DOMAIN = tuple(code for code in SERVER_ABSENT if code != ReasonCode.SERVER_OFF)


def decide(claim: Claim, evidence: Evidence) -> Decision:
    """The action that the evidence justifies."""
    if isinstance(evidence.nova, nova.Server):
        return _locate(claim, evidence, evidence.nova)
    return Release() if _is_gone(claim, evidence) else Nothing()


def _is_gone(claim: Claim, evidence: Evidence) -> bool:
    """Whether Nova, and the agents that are up, prove that the server is gone."""
    if evidence.domain_seen:
        return False
    if not evidence.host_up:
        # It is unknown whether the domain is still running there.
        return evidence.nova == NovaSays.DELETED
    if claim.reason_code not in (SERVER_ABSENT if evidence.tells_domains else _NO_DOMAIN):
        return False
    if evidence.nova == NovaSays.NO_RECORD:
        return evidence.knows_host
    return evidence.nova == NovaSays.DELETED


def _locate(claim: Claim, evidence: Evidence, server: nova.Server) -> Decision:
    """An agent sees its own host only, where a server that moved may have a domain."""
    in_doubt = claim.reason_code in SERVER_ABSENT or not evidence.host_up
    code = _whereabouts(claim, server)
    if server.busy or not in_doubt or code in (None, claim.reason_code):
        return Nothing()
    if code == ReasonCode.SERVER_ON_OTHER_HOST and claim.reason_code in _ELSEWHERE:
        return Nothing()
    return Locate(code)


def _whereabouts(claim: Claim, server: nova.Server) -> ReasonCode | None:
    """Why the server does not have the device, None if only the agent can tell."""
    if not server.host_id:
        return ReasonCode.SERVER_SHELVED
    if server.host_id != nova.host_id(server.project_id, claim.host):
        return ReasonCode.SERVER_ON_OTHER_HOST
    if claim.reason_code in (*_ELSEWHERE, ReasonCode.SERVER_SHELVED):
        return ReasonCode.SERVER_OFF
    return None
