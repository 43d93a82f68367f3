# SPDX-License-Identifier: Apache-2.0
"""The two conversations on the message bus: agent to conductor, and API or conductor to agent.

Both are level-triggered. ``sync`` carries everything the agent sees and brings back everything that is
wanted of its host; ``report`` and ``claim_changed`` carry one change early. A message that is lost, late
or doubled is repaired by the generation of each claim and by the next ``sync``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import oslo_messaging
from oslo_config import cfg
from oslo_log import log

from compute_shim import legacy_reasons, request_ids, wire
from compute_shim.objects import Claim, ClaimStatus, Device, ReasonCode, Server

LOG = log.getLogger(__name__)

CONDUCTOR_TOPIC = "usb-shim-conductor"
AGENT_TOPIC = "usb-shim-agent"

#: Versions of the two RPC interfaces: MAJOR.MINOR. What is added gets a new minor version, is optional for
#: its receiver, and is not sent to a receiver of an older version.
#:
#: 1.1: ``reason_code`` of claims and outcomes, ``blocked_code`` of devices, ``servers`` of sync
#: 1.2: ``socket``, ``plug_id``, ``device_id``, ``serial_shared``, ``follow`` of devices; what is known of the
#:      device in claims; ``identified`` of sync
#: 1.3: ``shared``, ``projects``, ``kind``, ``handover`` and ``rule`` of devices, ``wiped`` of outcomes,
#:      ``usb_ports`` of servers
#: 1.4: ``over_network`` and ``guessed`` of devices, ``port`` of outcomes, ``relay_address`` of sync
CONDUCTOR_VERSION = "1.4"
#: 1.1: ``reason_code`` of claims
#: 1.2: what is known of the device in claims
#: 1.3: ``wiped`` of claims
#: 1.4: ``peer`` and ``address`` of claims, claims on devices of other hosts
AGENT_VERSION = "1.4"
_VERSIONS = ("1.4", "1.3", "1.2", "1.1", "1.0")
_SERVERS_SINCE: wire.Version = (1, 1)
_IDENTIFIED_SINCE: wire.Version = (1, 2)
#: The first in which an agent is told of claims on devices of other hosts.
CHANNELS_SINCE: wire.Version = (1, 4)

# Seconds to wait for an answer of the conductor, and how often a message is offered again to a bus that is
# away. Both sides come back by themselves, so nobody has to wait for long.
_ANSWER_SECONDS = 20
_RETRIES = 2


def transport(conf: cfg.ConfigOpts) -> oslo_messaging.Transport:
    """The message bus of ``transport_url``."""
    # oslo.messaging 18.3 asks for these with every message, and registers them with the global configuration
    # only (oslo_messaging/_metrics/client.py and _tracing/client.py).
    for extra in ("metrics", "tracing"):
        conf.register_opt(cfg.BoolOpt(f"{extra}_enabled", default=False), group=f"oslo_messaging_{extra}")
    return oslo_messaging.get_rpc_transport(conf)


def server(
    bus: oslo_messaging.Transport, topic: str, host: str, endpoint: object
) -> oslo_messaging.MessageHandlingServer:
    """An RPC server on native threads; the methods of the endpoint are those of the client below."""
    target = oslo_messaging.Target(topic=topic, server=host)
    return oslo_messaging.get_rpc_server(bus, target, [endpoint], serializer=_Contexts())


class _Contexts(oslo_messaging.NoOpSerializer):
    """Has what a message brings about logged with the id of the request that the message comes from."""

    def deserialize_context(self, ctxt: dict[str, Any]) -> dict[str, Any]:
        request_ids.adopt(ctxt)
        return ctxt


class ConductorClient:
    """What an agent asks of the conductor.

    Every call raises `oslo_messaging.MessagingTimeout` or `oslo_messaging.MessageDeliveryFailure` when
    the conductor or the bus is away.

    :param pin: the RPC version to speak (``[upgrade_levels] conductor``), None for the newest that the
        conductor knows.
    :param relay_address: where other hosts reach its relays, None: it takes no part in the network transport.
    """

    def __init__(
        self,
        bus: oslo_messaging.Transport,
        host: str,
        pin: str | None = None,
        relay_address: str | None = None,
    ):
        target = oslo_messaging.Target(topic=CONDUCTOR_TOPIC, version=pin or CONDUCTOR_VERSION)
        self._client = oslo_messaging.get_rpc_client(bus, target, timeout=_ANSWER_SECONDS, retry=_RETRIES)
        self._version = pin or CONDUCTOR_VERSION
        self._host = host
        self._relay_address = relay_address

    def sync(
        self,
        hypervisor: str,
        devices: Iterable[Device],
        problems: Iterable[str] = (),
        servers: Mapping[str, Server] | None = None,
        *,
        identified: bool = True,
    ) -> list[Claim]:
        """Tell all plugged devices, learn what is wanted of every known device of this host.

        :param hypervisor: its name and version, for people.
        :param problems: what the operator of the host has to mend.
        :param servers: by their UUIDs, all that have a domain on the host; None: not known.
        :param identified: False: the devices were not identified by claims, so that nothing can be recorded.
        """
        told, problems = list(devices), list(problems)

        def arguments(version: str) -> dict[str, Any]:
            found: dict[str, Any] = {
                "hypervisor": hypervisor,
                "version": version,
                "devices": [_device(device, wire.number(version)) for device in told],
                "problems": problems,
            }
            if servers is not None and wire.number(version) >= _SERVERS_SINCE:
                found["servers"] = [
                    {"uuid": uuid, **wire.encode(server, wire.number(version))}
                    for uuid, server in servers.items()
                ]
            if wire.number(version) >= _IDENTIFIED_SINCE:
                found["identified"] = identified
            if self._relay_address is not None and wire.number(version) >= CHANNELS_SINCE:
                found["relay_address"] = self._relay_address
            return found

        return [_claim(claim) for claim in self._call("sync", arguments, {})]

    def report(self, outcomes: Iterable[ClaimStatus], request_id: str | None = None) -> None:
        """Tell what became of claims.

        :param request_id: of the request that made the claims what they are, None where that is not known.
        """
        told = list(outcomes)

        def arguments(version: str) -> dict[str, Any]:
            return {"outcomes": [_outcome(outcome, wire.number(version)) for outcome in told]}

        self._call("report", arguments, {"request_id": request_id} if request_id else {})

    def _call(self, method: str, arguments: Callable[[str], dict[str, Any]], context: dict[str, Any]) -> Any:
        older = [version for version in _VERSIONS if wire.number(version) < wire.number(self._version)]
        for version in (self._version, *older):
            try:
                return self._call_as(version, method, arguments, context)
            except (oslo_messaging.RemoteError, oslo_messaging.UnsupportedVersion) as error:
                # A conductor of a version before; another may be newer, so the next call tries again.
                if not _is_unsupported_version(error) or version == _VERSIONS[-1]:
                    raise
        raise AssertionError("no version to speak")

    def _call_as(
        self,
        version: str,
        method: str,
        arguments: Callable[[str], dict[str, Any]],
        context: dict[str, Any],
    ) -> Any:
        client = self._client.prepare(version=version)
        return client.call(context, method, host=self._host, **arguments(version))


def _is_unsupported_version(error: Exception) -> bool:
    """The bus in memory hands over the exception itself, RabbitMQ its name."""
    return "UnsupportedVersion" in (type(error).__name__, getattr(error, "exc_type", None))


def _device(device: Device, version: wire.Version) -> dict[str, Any]:
    """A device for a conductor of this version. By the text, APIs of RPC 1.0 hide it from tenants."""
    if version == wire.FIRST:
        text = legacy_reasons.text_of(device.blocked_code, device.blocked_reason)
        device = dataclasses.replace(device, blocked_reason=text)
    return wire.encode(device, version)


def _outcome(outcome: ClaimStatus, version: wire.Version) -> dict[str, Any]:
    """An outcome for a conductor of this version. One of RPC 1.0 knows by the text where a server is."""
    if version == wire.FIRST:
        text = legacy_reasons.text_of(outcome.reason_code, outcome.reason)
        outcome = dataclasses.replace(outcome, reason=text)
    return wire.encode(outcome, version)


def _claim(value: Mapping[str, Any]) -> Claim:
    """A claim as a conductor of any version sends it; without a code where a text of RPC 1.0 has none."""
    claim = wire.decode(Claim, value)
    if claim.reason_code is not None:
        return claim
    code = legacy_reasons.code_of(claim.reason, None)
    # Its conductor may have said this as well, which asks Nova and so knows better than an agent.
    if code == ReasonCode.DOMAIN_ABSENT:
        code = ReasonCode.SERVER_ON_OTHER_HOST
    return dataclasses.replace(claim, reason_code=code)


class AgentClient:
    """What the API and the conductor tell an agent.

    Nobody waits for it. What cannot be sent is logged, and the agent learns it at its next ``sync``.

    :param pin: the RPC version to speak (``[upgrade_levels] agent``), None for that of each agent.
    """

    def __init__(self, bus: oslo_messaging.Transport, pin: str | None = None):
        target = oslo_messaging.Target(topic=AGENT_TOPIC, version=AGENT_VERSION)
        self._client = oslo_messaging.get_rpc_client(bus, target, retry=1)
        self._pin = pin

    def claim_changed(self, host: str, version: str, claim: Claim, context: Mapping[str, Any]) -> None:
        """Tell the agent of a host that the intent for one device changed.

        :param version: of the RPC that the agent speaks.
        :param context: of the request that changed it.
        """
        spoken = self._pin or min(version, AGENT_VERSION, key=wire.number)
        if claim.address is not None and wire.number(spoken) < CHANNELS_SINCE:
            return  # it would take the device for one of its own
        try:
            client = self._client.prepare(server=host, version=spoken)
            client.cast(dict(context), "claim_changed", claim=wire.encode(claim, wire.number(spoken)))
        except Exception as error:
            # The errors of the libraries below come through as they are (kombu's, for one).
            LOG.warning("Cannot notify the agent on host %s of device %s: %s", host, claim.device_id, error)
