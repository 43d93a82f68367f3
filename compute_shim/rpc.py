# SPDX-License-Identifier: Apache-2.0
"""The two conversations on the message bus: agent to conductor, and API or conductor to agent.

Both are level-triggered. ``sync`` carries everything the agent sees and brings back everything that is
wanted of its host; ``report`` and ``claim_changed`` carry one change early. A message that is lost, late
or doubled is repaired by the generation of each claim and by the next ``sync``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import oslo_messaging
from oslo_config import cfg
from oslo_log import log

from compute_shim.objects import Claim, Device, Outcome

LOG = log.getLogger(__name__)

CONDUCTOR_TOPIC = "usb-shim-conductor"
AGENT_TOPIC = "usb-shim-agent"
VERSION = "1.0"

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
    return oslo_messaging.get_rpc_server(bus, oslo_messaging.Target(topic=topic, server=host), [endpoint])


class ConductorClient:
    """What an agent asks of the conductor.

    Every call raises `oslo_messaging.MessagingTimeout` or `oslo_messaging.MessageDeliveryFailure` when
    the conductor or the bus is away.
    """

    def __init__(self, bus: oslo_messaging.Transport, host: str):
        target = oslo_messaging.Target(topic=CONDUCTOR_TOPIC, version=VERSION)
        self._client = oslo_messaging.get_rpc_client(bus, target, timeout=_ANSWER_SECONDS, retry=_RETRIES)
        self._host = host

    def sync(
        self, hypervisor: str, version: str, devices: Iterable[Device], problems: Iterable[str] = ()
    ) -> list[Claim]:
        """Tell all plugged devices, learn what is wanted of every known device of this host.

        :param problems: what the operator of the host has to mend.
        """
        claims = self._client.call(
            {},
            "sync",
            host=self._host,
            hypervisor=hypervisor,
            version=version,
            devices=[dataclasses.asdict(device) for device in devices],
            problems=list(problems),
        )
        return [Claim(**claim) for claim in claims]

    def report(self, outcomes: Iterable[Outcome]) -> None:
        """Tell what became of claims."""
        self._client.call(
            {},
            "report",
            host=self._host,
            outcomes=[dataclasses.asdict(outcome) for outcome in outcomes],
        )


class AgentClient:
    """What the API and the conductor tell an agent.

    Nobody waits for it. What cannot be sent is logged, and the agent learns it at its next ``sync``.
    """

    def __init__(self, bus: oslo_messaging.Transport):
        target = oslo_messaging.Target(topic=AGENT_TOPIC, version=VERSION)
        # One retry finds out that a connection is stale; a client of the API waits meanwhile.
        self._client = oslo_messaging.get_rpc_client(bus, target, retry=1)

    def claim_changed(self, host: str, claim: Claim) -> None:
        """Tell the agent of a host that the intent for one device changed."""
        self._tell(host, "claim_changed", claim=dataclasses.asdict(claim))

    def _tell(self, host: str, method: str, **arguments: Any) -> None:
        try:
            self._client.prepare(server=host).cast({}, method, **arguments)
        except Exception as error:
            # The errors of the libraries below come through as they are (kombu's, for one).
            LOG.warning("Cannot tell host %s now (%s): %s", host, method, error)
