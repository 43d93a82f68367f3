# SPDX-License-Identifier: Apache-2.0
"""What is asked of the identity API."""

from __future__ import annotations

from keystoneauth1 import adapter as ks_adapter
from keystoneauth1 import discover, loading
from keystoneauth1 import exceptions as ks_exceptions
from keystoneauth1 import plugin as ks_plugin
from oslo_config import cfg
from oslo_log import log

from compute_shim import deadline, request_ids
from compute_shim.bounded import Bounded
from compute_shim.conf.nova import GROUP

LOG = log.getLogger(__name__)

# At a time, of one process, as for Nova.
_CALLS = 100


class Keystone:
    """The identity API that the catalog names, reached as ``[nova]`` says of connections and endpoints."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._options = conf[GROUP]
        self._session = loading.load_session_from_conf_options(conf, GROUP)
        self._bounded = Bounded(_CALLS)

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
