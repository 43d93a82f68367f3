# SPDX-License-Identifier: Apache-2.0
"""What to do with a claim in doubt, given what is known of its server. Nothing here asks anybody."""

from __future__ import annotations

import dataclasses
import enum

from compute_shim import nova
from compute_shim.objects import SERVER_ABSENT, ReasonCode


class NovaSays(enum.Enum):
    """What Nova says of a server that it does not show."""

    #: It is deleted, and cannot be restored.
    DELETED = "deleted"
    #: No record of it: purged from Nova's database, or never there.
    NO_RECORD = "no record"
    #: An error, a refusal, a soft-deleted server: no proof of anything.
    UNCLEAR = "unclear"


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim on a device, as far as it matters here.

    :param host: of the device.
    :param reason_code: why it is not fulfilled, None if it is or nothing is known.
    :param kind: of which any device would do; None: this one is claimed.
    """

    host: str
    reason_code: str | None
    kind: str | None = None


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What is known of the server of a claim.

    :param nova: the server as Nova shows it, or what Nova says instead.
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
    """The server is gone: the device is free."""


@dataclasses.dataclass(frozen=True)
class Locate:
    """The server is not running where its device is plugged in.

    :param code: says where it is instead.
    """

    code: ReasonCode


@dataclasses.dataclass(frozen=True)
class Replace:
    """The server is on another host, where another device of the kind may be free.

    :param server: says on which.
    """

    server: nova.Server


@dataclasses.dataclass(frozen=True)
class Nothing:
    """The claim stays as it is."""


Decision = Release | Locate | Replace | Nothing

# Of an agent of RPC 1.0, these say that there is no domain: it told "server_off" of one that it saw.
_NO_DOMAIN = tuple(code for code in SERVER_ABSENT if code != ReasonCode.SERVER_OFF)


def decide(claim: Claim, evidence: Evidence) -> Decision:
    """What the evidence is enough for."""
    if isinstance(evidence.nova, nova.Server):
        return _locate(claim, evidence, evidence.nova)
    return Release() if _is_gone(claim, evidence) else Nothing()


def _is_gone(claim: Claim, evidence: Evidence) -> bool:
    """Two witnesses: Nova, and the agents."""
    if evidence.domain_seen:
        return False
    if not evidence.host_up:
        # Nobody can say whether the domain is still running there.
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
    if server.busy or not in_doubt or code is None:
        return Nothing()
    if claim.kind is not None and code == claim.reason_code == ReasonCode.SERVER_ON_OTHER_HOST:
        return Replace(server)
    if code == claim.reason_code:
        return Nothing()
    return Locate(code)


def _whereabouts(claim: Claim, server: nova.Server) -> ReasonCode | None:
    """Why the server has not got the device, None if only the agent can say."""
    if not server.host_id:
        return ReasonCode.SERVER_SHELVED
    if server.host_id != nova.host_id(server.project_id, claim.host):
        return ReasonCode.SERVER_ON_OTHER_HOST
    if claim.reason_code in (ReasonCode.SERVER_ON_OTHER_HOST, ReasonCode.SERVER_SHELVED):
        return ReasonCode.SERVER_OFF
    return None
