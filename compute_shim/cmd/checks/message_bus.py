# SPDX-License-Identifier: Apache-2.0
"""The message bus of ``transport_url``, and whether a conductor is there."""

from __future__ import annotations

import oslo_messaging
from oslo_config import cfg
from oslo_upgradecheck.upgradecheck import Result

from compute_shim import bus, rpc
from compute_shim.bounded import Bounded
from compute_shim.cmd.checks.results import Installation, found
from compute_shim.daemon import CannotServe

# Seconds that a conductor has for an answer.
_PATIENCE = 5
# What oslo.messaging has for a URL that is not set.
_UNSET = "rabbit://"
_NOBODY = "usb-shim-status"


def check(installation: Installation) -> Result:
    """The message bus accepts our credentials."""
    conf = installation.conf
    try:
        transport = bus.connect(conf)
    except CannotServe as error:
        return found([str(error)])
    problem = _problem(conf, transport)
    if problem is not None:
        return found([problem])
    installation.transport = transport
    return found()


def check_conductor(installation: Installation) -> Result:
    """A conductor answers."""
    conf = installation.conf
    if installation.transport is None:
        return found(
            warnings=["No conductor can be asked before the message bus can be used: see the check Bus."]
        )
    client = rpc.ConductorClient(installation.transport, conf.host)
    try:
        # It changes nothing, and conductors of all versions know it.
        Bounded(1).run(lambda: client.report([]), _PATIENCE)
    except (TimeoutError, oslo_messaging.MessagingTimeout):
        text = (
            f"No conductor answers on the message bus at {bus.address(conf)}. Start usb-shim-conductor; if it"
            " runs, give it the same [DEFAULT] transport_url."
        )
        return found(warnings=[text])
    except Exception as error:
        # RabbitMQ brings the name of what the conductor raised, the bus in memory the exception itself.
        name, value = getattr(error, "exc_type", type(error).__name__), getattr(error, "value", error)
        return found([f"The conductor does not work: {name}: {str(value).rstrip('.')}. See its log."])
    return found()


def _problem(conf: cfg.ConfigOpts, transport: oslo_messaging.Transport) -> str | None:
    if conf.transport_url == _UNSET:
        return "[DEFAULT] transport_url is not set. It is like rabbit://USER:PASSWORD@HOST:PORT/VHOST."
    # Sent to nobody: all that is wanted is the connection.
    target = oslo_messaging.Target(topic=rpc.CONDUCTOR_TOPIC, server=_NOBODY, version="1.0")
    try:
        oslo_messaging.get_rpc_client(transport, target, retry=0).cast({}, "report")
    except Exception as error:
        # The errors of the libraries below come through as they are (those of amqp and kombu).
        return (
            f"The message bus at {bus.address(conf)} cannot be used: {str(error).rstrip('.')}. Check host,"
            " port, user, password and virtual host in [DEFAULT] transport_url."
        )
    return None
