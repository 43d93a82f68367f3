# SPDX-License-Identifier: Apache-2.0
"""A client of the cloud's APIs for setting it up: keystoneauth and plain JSON.

The OpenStack SDK would do, but importing it takes longer than all the requests.
"""

from __future__ import annotations

from typing import Any

import keystoneauth1.adapter
import keystoneauth1.session
from keystoneauth1.identity import v3

from lab.cloud.site import Site

# 2.37 brought networks="none"; 2.47 shows the flavor inside the server.
COMPUTE_MICROVERSION = "2.96"


class Rest:
    """The APIs as one user of one project sees them.

    Every request raises `keystoneauth1.exceptions.ClientException` when it is refused.
    """

    def __init__(self, site: Site, user: str):
        auth = v3.Password(
            auth_url=site.url("keystone", "/v3"),
            username=user,
            password=site.passwords[user],
            project_name=user,
            user_domain_id="default",
            project_domain_id="default",
        )
        self._session = keystoneauth1.session.Session(auth)
        self.identity = self._adapter(site.url("keystone", "/v3"))
        self.image = self._adapter(site.url("glance", "/v2"))
        self.usb = self._adapter(site.url("usb-shim-api"))
        self.network = self._adapter(site.url("neutron", "/v2.0"))
        self.placement = self._adapter(
            site.url("placement"), service_type="placement", default_microversion="1.36"
        )
        self.compute = self._adapter(
            site.url("nova-api", "/v2.1"), service_type="compute", default_microversion=COMPUTE_MICROVERSION
        )

    def _adapter(self, url: str, **options: Any) -> keystoneauth1.adapter.Adapter:
        return keystoneauth1.adapter.Adapter(
            self._session, endpoint_override=url, connect_retries=3, **options
        )
