# SPDX-License-Identifier: Apache-2.0
"""What is asked of the compute API."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any
from urllib import parse

from keystoneauth1 import adapter as ks_adapter
from keystoneauth1 import exceptions as ks_exceptions
from keystoneauth1 import identity, loading
from keystoneauth1 import plugin as ks_plugin
from oslo_config import cfg

from compute_shim import credentials, deadline, exception, request_ids
from compute_shim.bounded import Bounded
from compute_shim.conf.nova import GROUP
from novaclient_usb.reason_codes import ReasonCode

# The first whose servers have "locked" (Compute API reference, "REST API version history").
_MICROVERSION = "2.9"
# The first in which the id of a compute node is its UUID.
_UUIDS = "2.53"

# At a time, of one process: more than a WSGI server has threads, so that only calls which hang use them up.
_CALLS = 100
# How Nova itself names a 404 (nova/api/openstack/wsgi.py, ``Fault._fault_names``). A proxy's has another
# body.
_NOT_FOUND = "itemNotFound"
# Of a server that cannot be restored (nova/api/openstack/compute/views/servers.py, ``_get_vm_status``).
_DELETED = "DELETED"


class Hidden(exception.NotFound):
    """Nova refuses to show a server: it may be there or not."""


@dataclasses.dataclass(frozen=True)
class Server:
    """A server, as far as it matters here.

    :param project_id: whose it is.
    :param host_id: what `host_id` makes of its project and its host; empty while it is on none.
    :param locked: nobody but an administrator may change it.
    :param busy: Nova is doing something to it: where it is may be true no more.
    :param user_id: who made it.
    """

    id: str
    project_id: str
    host_id: str
    locked: bool
    busy: bool = False
    user_id: str = ""


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
        self._bounded = Bounded(_CALLS)

    def service_auth(self) -> ks_plugin.BaseAuthPlugin | None:
        """Our own credentials, None if ``[nova] auth_type`` is not set.

        :raises compute_shim.credentials.Unusable: they are incomplete
        """
        return credentials.load(self._conf, GROUP)

    def server(self, auth: ks_plugin.BaseAuthPlugin, server_id: str) -> Server:
        """A server that the credentials may see.

        :raises compute_shim.exception.NotFound: Nova knows none of that id, or none in the caller's project
        :raises Hidden: Nova refuses to show it
        """
        try:
            return _server(self._get(auth, f"/servers/{server_id}"))
        except ks_exceptions.NotFound as error:
            if not _says_not_found(error):
                raise _unavailable() from error
            raise no_server(server_id) from None
        except ks_exceptions.Forbidden:
            raise Hidden(str(no_server(server_id)), ReasonCode.SERVER_NOT_FOUND) from None

    def servers_on(self, auth: ks_plugin.BaseAuthPlugin, host: str) -> dict[str, Server]:
        """The servers of all projects on a host by id, but for those that are deleted.

        One call for each 1000 servers (Nova's ``[api] max_limit``). A soft-deleted server is not listed.

        :raises compute_shim.exception.Forbidden: the credentials may not list the servers of all projects
        """
        return {server.id: server for server in self._all(auth, {"all_tenants": "1", "host": host})}

    def own_servers(self, auth: ks_plugin.BaseAuthPlugin) -> list[Server]:
        """The servers of the credentials' project, one call for each 1000."""
        return list(self._all(auth, {}))

    def _all(self, auth: ks_plugin.BaseAuthPlugin, query: Mapping[str, str]) -> Iterator[Server]:
        """The servers that fit a query, from as many pages as Nova makes of them."""
        while True:
            page = self._list(auth, query)
            servers = [_server({"server": value}) for value in page["servers"]]
            yield from servers
            if not servers or not page.get("servers_links"):
                return
            query = {**query, "marker": servers[-1].id}

    def is_deleted(self, auth: ks_plugin.BaseAuthPlugin, server_id: str) -> bool | None:
        """Whether a server that Nova does not show is deleted.

        :returns: True: Nova says so. False: Nova has no record of such a server; it may have been purged, or
            belong to another cloud. None: neither, for example a soft-deleted server, which can be restored.
        :raises compute_shim.exception.Forbidden: the credentials may not list the servers of all projects
        """
        # ``GET /servers/{id}`` hides servers of other projects from those who are no administrators even if
        # they may list all (nova/db/main/api.py, ``project_only``), so the lists must agree with it.
        for deleted in ("True", "False"):
            query = {"all_tenants": "1", "deleted": deleted, "uuid": server_id}
            found = self._list(auth, query)["servers"]
            if [(value.get("id"), value.get("status")) for value in found] == [(server_id, _DELETED)]:
                return True
            if found:
                return None
        return False

    def compute_hosts(self, auth: ks_plugin.BaseAuthPlugin) -> set[str]:
        """The names of all hosts with a nova-compute, up or down.

        :raises compute_shim.exception.Forbidden: the credentials may not list them
        """
        return set(self.compute_services(auth))

    def compute_services(self, auth: ks_plugin.BaseAuthPlugin) -> dict[str, bool]:
        """Whether nova-compute is up, by the name of its host.

        :raises compute_shim.exception.Forbidden: the credentials may not list them
        """
        services = self._get_list(auth, "/os-services?binary=nova-compute", "services")["services"]
        return {
            service["host"]: service.get("state") != "down"
            for service in services
            if isinstance(service.get("host"), str)
        }

    def compute_nodes(self, auth: ks_plugin.BaseAuthPlugin) -> dict[str, str]:
        """The UUID of the compute node by the name of its host.

        It is that of the node's resource provider, too.

        :raises compute_shim.exception.Forbidden: the credentials may not list them
        """
        path = "/os-hypervisors/detail"
        nodes = self._get_list(auth, path, "hypervisors", microversion=_UUIDS)["hypervisors"]
        try:
            return {node["service"]["host"]: node["id"] for node in nodes}
        except (KeyError, TypeError) as error:
            raise _unavailable() from error

    def regions(self, auth: ks_plugin.BaseAuthPlugin) -> set[str]:
        """The regions whose Nova the catalog offers, if ``[nova]`` does not say which one to use.

        :returns: nothing where there is no choice
        """
        options = self._conf[GROUP]
        chosen = options.region_name or options.endpoint_override
        if chosen or not isinstance(auth, identity.BaseIdentityPlugin):
            return set()
        try:
            catalog = auth.get_access(self._session).service_catalog
        except ks_exceptions.ClientException as error:
            raise _unavailable() from error
        found = catalog.get_endpoints_data(options.service_type, interface=options.valid_interfaces)
        return {
            endpoint.region_name
            for endpoints in found.values()
            for endpoint in endpoints
            if endpoint.region_name
        }

    def sees_all_projects(self, auth: ks_plugin.BaseAuthPlugin) -> bool:
        """Whether the credentials may list the servers of all projects."""
        try:
            self._get(auth, "/servers?all_tenants=1&limit=1")
        except ks_exceptions.Forbidden:
            return False
        return True

    def _list(self, auth: ks_plugin.BaseAuthPlugin, query: Mapping[str, str]) -> dict[str, Any]:
        return self._get_list(auth, f"/servers/detail?{parse.urlencode(query)}", "servers")

    def _get_list(
        self, auth: ks_plugin.BaseAuthPlugin, path: str, noun: str, **options: Any
    ) -> dict[str, Any]:
        try:
            body = self._get(auth, path, **options)
        except ks_exceptions.Forbidden as error:
            raise exception.Forbidden(
                f"Nova does not allow the user of [nova] to list all {noun}."
            ) from error
        except ks_exceptions.NotFound as error:
            raise _unavailable() from error
        values = body.get(noun) if isinstance(body, dict) else None
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise _unavailable()
        return body

    def _get(self, auth: ks_plugin.BaseAuthPlugin, path: str, **fixed: Any) -> Any:
        # Made here: the thread that waits for Nova knows nothing of the request.
        adapter = self._adapter(auth)

        def ask(**options: Any) -> Any:
            return adapter.get(path, **fixed, **options).json()

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
            raise _unavailable() from error

    def _adapter(self, auth: ks_plugin.BaseAuthPlugin) -> ks_adapter.Adapter:
        return loading.load_adapter_from_conf_options(
            self._conf,
            GROUP,
            session=self._session,
            auth=auth,
            default_microversion=_MICROVERSION,
            global_request_id=request_ids.current(),
        )


def no_server(server_id: str) -> exception.NotFound:
    """The one answer to whoever names a server that is not there, or not theirs to see."""
    return exception.NotFound(f"Server {server_id} could not be found.", ReasonCode.SERVER_NOT_FOUND)


def _server(body: Any) -> Server:
    """A server out of an answer of Nova.

    :raises compute_shim.exception.Unavailable: it is none; something else than Nova answers
    """
    try:
        value = body["server"]
        return Server(
            id=value["id"],
            project_id=value["tenant_id"],
            host_id=value["hostId"],
            locked=value["locked"],
            busy=value.get("OS-EXT-STS:task_state") is not None,
            user_id=value.get("user_id") or "",
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise _unavailable() from error


def _says_not_found(error: ks_exceptions.NotFound) -> bool:
    try:
        return _NOT_FOUND in error.response.json()
    except (AttributeError, TypeError, ValueError):
        return False


def _unavailable() -> exception.Unavailable:
    return exception.Unavailable(
        "The Compute service (Nova) is unavailable. Try again later.", ReasonCode.COMPUTE_UNAVAILABLE
    )
