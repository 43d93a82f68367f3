# SPDX-License-Identifier: Apache-2.0
"""What is asked of the identity API: projects, with the caller's token, and unified limits, with our own."""

from __future__ import annotations

from keystoneauth1 import adapter as ks_adapter
from keystoneauth1 import discover, loading
from keystoneauth1 import exceptions as ks_exceptions
from keystoneauth1 import plugin as ks_plugin
from openstack import exceptions as sdk_exceptions
from oslo_config import cfg
from oslo_limit import exception as limit_exceptions
from oslo_limit import limit
from oslo_limit import opts as limit_opts
from oslo_log import log

from compute_shim import deadline, exception, request_ids
from compute_shim.bounded import Bounded
from compute_shim.conf.nova import GROUP
from compute_shim.db.usage import DEVICES, OF_KIND
from novaclient_usb.reason_codes import ReasonCode

LOG = log.getLogger(__name__)

_CANNOT_TELL = (
    ks_exceptions.ClientException,
    limit_exceptions.SessionInitError,
    sdk_exceptions.SDKException,
    TimeoutError,
    ValueError,
)
# At a time, of one process, as for Nova.
_CALLS = 100


class Keystone:
    """The identity API that the catalog names, reached as ``[nova]`` says of connections and endpoints."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._options = conf[GROUP]
        self._session = loading.load_session_from_conf_options(conf, GROUP)
        self._bounded = Bounded(_CALLS)
        limit_opts.register_opts(conf)
        own = conf.oslo_limit
        self._limited = any((own.endpoint_id, own.endpoint_service_type, own.endpoint_service_name))
        if self._limited:
            # oslo.limit reads the one configuration of the process.
            cfg.CONF([], project=conf.project, default_config_files=conf.config_file)

    def lacks_project(self, auth: ks_plugin.BaseAuthPlugin, project_id: str) -> bool:
        """Whether Keystone says that there is no such project.

        False as well where it cannot tell: the credentials may not ask, or it does not answer. Nova treats
        the ids that flavors are shared with in the same way (nova/api/openstack/identity.py).
        """
        identity = ks_adapter.Adapter(
            self._session,
            auth=auth,
            service_type="identity",
            interface=self._options.valid_interfaces,
            region_name=self._options.region_name,
            min_version=(3, 0),
            max_version=(3, discover.LATEST),
            global_request_id=request_ids.current(),
        )
        limit = self._session.timeout
        seconds = min(deadline.remaining() or limit, limit)
        try:
            self._bounded.run(lambda: identity.get(f"/projects/{project_id}", timeout=seconds), seconds)
        except ks_exceptions.NotFound:
            return True
        except (ks_exceptions.ClientException, TimeoutError) as error:
            LOG.info("Keystone was not able to tell whether there is a project %s: %s", project_id, error)
        return False

    def limits(self, project_id: str) -> dict[str, int]:
        """How many devices a project may have, by the name of the resource; nothing without ``[oslo_limit]``.

        Of ``usb_devices`` none, unless Keystone has a limit of that name (oslo.limit, "Usage": what is not
        registered is zero); of a kind as many as of all, unless it has.

        :raises compute_shim.exception.Unavailable: Keystone cannot tell
        """
        if not self._limited:
            return {}
        seconds = deadline.remaining() or self._session.timeout
        try:
            return self._bounded.run(lambda: _limits(project_id), seconds)
        except _CANNOT_TELL as error:
            LOG.error("The quota of project %s cannot be checked: %s", project_id, error)
            raise exception.Unavailable(
                "The quota cannot be checked now. Try again later.", ReasonCode.IDENTITY_UNAVAILABLE
            ) from error

    def quota_problem(self) -> str | None:
        """What keeps projects from having devices, for an operator; None if the quota can be used."""
        if not self._limited:
            return None
        try:
            registered = self._bounded.run(lambda: _registered(_enforcer()), self._session.timeout)
        except _CANNOT_TELL as error:
            return f"Keystone does not tell the limits of projects: {error}. Check [oslo_limit]."
        if DEVICES in registered:
            return None
        return (
            f"Keystone has no registered limit {DEVICES}, so no project may have a device. Register it:"
            f" openstack registered limit create --service usb-passthrough --default-limit 10 {DEVICES}"
        )


def _enforcer() -> limit.Enforcer:
    # A new one each time, because it remembers limits as long as it lives.
    return limit.Enforcer(lambda project_id, names: {})


def _registered(enforcer: limit.Enforcer) -> list[str]:
    return [name for name, _ in enforcer.get_registered_limits(None)]  # type: ignore[arg-type]


def _limits(project_id: str) -> dict[str, int]:
    enforcer = _enforcer()
    of_kinds = [name for name in _registered(enforcer) if name.startswith(OF_KIND)]
    return dict(enforcer.get_project_limits(project_id, [DEVICES, *of_kinds]))
