# SPDX-License-Identifier: Apache-2.0
"""[nova]: how the compute API is reached, as keystoneauth defines it.

The API calls Nova with the token of its caller and reads the connection and the endpoint here
(``cafile``, ``timeout``, ``region_name``, ``valid_interfaces`` and so on). The conductor needs credentials
as well (``auth_type``, ``auth_url``, ``username`` and so on), of a user who may list the services and the
servers of all projects. Where the catalog has several regions, ``region_name`` must be set.
"""

from keystoneauth1 import loading
from oslo_config import cfg

GROUP = "nova"

# Seconds. Somebody waits for an answer that depends on Nova's.
_TIMEOUT = 30


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options of the group known."""
    loading.register_session_conf_options(conf, GROUP)
    loading.register_auth_conf_options(conf, GROUP)
    loading.register_adapter_conf_options(conf, GROUP)
    conf.set_default("timeout", _TIMEOUT, group=GROUP)
    conf.set_default("service_type", "compute", group=GROUP)
    conf.set_default("valid_interfaces", ["internal", "public"], group=GROUP)


def list_opts() -> list[cfg.Opt]:
    """All options of the group but those of one way to authenticate, for oslo-config-generator."""
    return [
        *loading.get_session_conf_options(),
        *loading.get_auth_common_conf_options(),
        *loading.get_adapter_conf_options(),
    ]
