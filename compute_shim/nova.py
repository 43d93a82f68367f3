# SPDX-License-Identifier: Apache-2.0
"""What is asked of the compute API."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from keystoneauth1 import adapter as ks_adapter
from keystoneauth1 import exceptions as ks_exceptions
from keystoneauth1 import loading
from keystoneauth1 import plugin as ks_plugin
from oslo_config import cfg

from compute_shim import deadline, exception
from compute_shim.conf.nova import GROUP
from novaclient_usb.reason_codes import ReasonCode

# The first whose servers have "locked" (Compute API reference, "REST API version history").
_MICROVERSION = "2.9"

# At a time, of one process: more than a WSGI server has threads, so that only calls which hang use them up.
_CALLS = 100


@dataclasses.dataclass(frozen=True)
class Server:
    """A server, as far as it matters here.

    :param project_id: whose it is.
    :param host_id: what `host_id` makes of its project and its host; empty while it is on none.
    :param locked: nobody but an administrator may change it.
    :param busy: Nova is doing something to it: where it is may be true no more.
    """

    id: str
    project_id: str
    host_id: str
    locked: bool
    busy: bool = False


def host_id(project_id: str, host: str) -> str:
    """What a server's ``hostId`` is on a host.

    It hides the host's name from those who may not know it (``nova/utils.py``, ``generate_hostid``).
    """
    return hashlib.sha224(f"{project_id}{host}".encode()).hexdigest()


class Nova:
    """The compute API, reached as ``[nova]`` says.

    Every call raises `compute_shim.exception.Unavailable` when Nova cannot answer now, and
    `compute_shim.exception.Unauthorized` when it does not accept the credentials.

    :param auth: whose credentials to use: the token of a request, or `service_auth`.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._conf = conf
        self._session = loading.load_session_from_conf_options(conf, GROUP)
        self._bounded = deadline.Bounded(_CALLS)

    def service_auth(self) -> ks_plugin.BaseAuthPlugin | None:
        """Our own credentials, None if ``[nova] auth_type`` is not set."""
        return loading.load_auth_from_conf_options(self._conf, GROUP)

    def server(self, auth: ks_plugin.BaseAuthPlugin, server_id: str) -> Server:
        """A server that the credentials may see.

        :raises compute_shim.exception.NotFound: there is none of that id, or it is not theirs to see
        """
        try:
            body = self._get(auth, f"/servers/{server_id}")["server"]
        except (ks_exceptions.NotFound, ks_exceptions.Forbidden):
            raise no_server(server_id) from None
        busy = body.get("OS-EXT-STS:task_state") is not None
        return Server(body["id"], body["tenant_id"], body["hostId"], body["locked"], busy)

    def sees_all_projects(self, auth: ks_plugin.BaseAuthPlugin) -> bool:
        """May the credentials see the servers of all projects?"""
        try:
            self._get(auth, "/servers?all_tenants=1&limit=1")
        except ks_exceptions.Forbidden:
            return False
        return True

    def _get(self, auth: ks_plugin.BaseAuthPlugin, path: str) -> Any:
        def ask(**options: Any) -> Any:
            return self._adapter(auth).get(path, **options).json()

        try:
            seconds = deadline.remaining()
            if seconds is None:
                return ask()
            return self._bounded.run(lambda: ask(timeout=min(seconds, self._session.timeout)), seconds)
        except (ks_exceptions.NotFound, ks_exceptions.Forbidden):
            raise
        except ks_exceptions.Unauthorized:
            raise exception.Unauthorized("Nova does not accept the token. Get a new one.") from None
        except (ks_exceptions.ClientException, ValueError, TimeoutError) as error:
            raise exception.Unavailable(
                "The Compute service (Nova) is unavailable. Try again later.", ReasonCode.COMPUTE_UNAVAILABLE
            ) from error

    def _adapter(self, auth: ks_plugin.BaseAuthPlugin) -> ks_adapter.Adapter:
        return loading.load_adapter_from_conf_options(
            self._conf, GROUP, session=self._session, auth=auth, default_microversion=_MICROVERSION
        )


def no_server(server_id: str) -> exception.NotFound:
    """The one answer to whoever names a server that is not there, or not theirs to see."""
    return exception.NotFound(f"Server {server_id} could not be found.", ReasonCode.SERVER_NOT_FOUND)
