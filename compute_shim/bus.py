# SPDX-License-Identifier: Apache-2.0
"""The message bus of a program: the connection to it, and an RPC server beside the main thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import oslo_messaging
from oslo_config import cfg
from oslo_log import log

from compute_shim import rpc
from compute_shim.daemon import CannotServe, Daemon

LOG = log.getLogger(__name__)

# Seconds between two warnings that the message bus is away.
_REMINDER = 10
_AMQP_PORT = 5672  # https://www.iana.org/assignments/service-names-port-numbers


class RpcServer:
    """Receives messages as soon as the message bus is there.

    A bus that cannot be reached is waited for; one that refuses us ends the program.

    :param clients: who is served, for the log.
    """

    def __init__(
        self, server: oslo_messaging.MessageHandlingServer, clients: str, conf: cfg.ConfigOpts, daemon: Daemon
    ) -> None:
        self._server = server
        self._clients = clients
        self._address = address(conf)
        self._daemon = daemon
        self._attempted = threading.Event()
        self._serving = threading.Thread(target=self._serve, name="rpc", daemon=True)

    def start(self) -> None:
        """Connect to the message bus, and return before that is done."""
        LOG.info("Connecting to the message bus at %s", self._address)
        self._serving.start()
        threading.Thread(target=self._remind, name="rpc-reminder", daemon=True).start()

    def finish(self, seconds: float) -> None:
        """Let what is being answered come to its end; call it when the program is stopping.

        :param seconds: the longest time to wait.
        """
        if self._attempted.is_set():
            self._serving.join(seconds)

    def _serve(self) -> None:
        try:
            self._server.start()
        except Exception as error:
            # Whatever the libraries below raise (those of amqp come through as they are), but never a
            # connection that fails: oslo.messaging tries that again and again.
            self._daemon.fail(
                CannotServe(f"The message bus at {self._address} refuses us: {error}. Check transport_url.")
            )
            return
        finally:
            self._attempted.set()
        LOG.info("Serving %s, message bus %s", self._clients, self._address)
        self._daemon.stopping.wait()
        self._server.stop()
        self._server.wait()

    def _remind(self) -> None:
        while not self._attempted.wait(_REMINDER):
            LOG.warning("Still waiting for the message bus at %s", self._address)


def connect(conf: cfg.ConfigOpts) -> oslo_messaging.Transport:
    """The message bus of ``transport_url``; nothing is connected yet.

    :raises CannotServe: the URL cannot be used
    """
    with _explained("[DEFAULT] transport_url"):
        return rpc.transport(conf)


def connect_notifications(conf: cfg.ConfigOpts) -> oslo_messaging.Transport:
    """The message bus for notifications, by default that of ``transport_url``; nothing is connected yet.

    :raises CannotServe: the URL cannot be used
    """
    with _explained("[oslo_messaging_notifications] transport_url"):
        return oslo_messaging.get_notification_transport(conf)


@contextlib.contextmanager
def _explained(option: str) -> Iterator[None]:
    try:
        yield
    except oslo_messaging.DriverLoadFailure as error:
        raise CannotServe(f"{error}. Check {option}.") from None
    except (oslo_messaging.InvalidTransportURL, ValueError):
        # Their texts have parts of the URL, and so perhaps the password.
        raise CannotServe(
            f"{option} is not a valid URL. It is like rabbit://USER:PASSWORD@HOST:PORT/VHOST, with special"
            " characters of the password percent-encoded."
        ) from None


def address(conf: cfg.ConfigOpts) -> str:
    """Hosts, ports and virtual host of ``transport_url``, without user and password."""
    url = oslo_messaging.TransportURL.parse(conf)
    hosts = [f"{host.hostname}:{host.port or _AMQP_PORT}" for host in url.hosts if host.hostname]
    return f"{', '.join(hosts) or 'localhost'}/{url.virtual_host or ''}"
