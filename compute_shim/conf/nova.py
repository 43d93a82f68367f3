# SPDX-License-Identifier: Apache-2.0
"""[nova]: how the compute API is reached, as keystoneauth defines it.

The API calls Nova with the token of its caller and reads the connection and the endpoint here
(``cafile``, ``timeout``, ``region_name``, ``valid_interfaces`` and so on). The conductor needs credentials
as well (``auth_type``, ``auth_url``, ``username`` and so on), of a user who may list the services and the
servers of all projects. Where the catalog has several regions, ``region_name`` must be set.
"""

from oslo_config import cfg

from compute_shim.conf import keystoneauth

GROUP = "nova"
_SERVICE_TYPE = "compute"


def register(conf: cfg.ConfigOpts) -> None:
    """Register the options of the group."""
    keystoneauth.register(conf, GROUP, _SERVICE_TYPE)


def list_opts() -> list[cfg.Opt]:
    """All options of the group, for oslo-config-generator."""
    return keystoneauth.list_opts(_SERVICE_TYPE)
