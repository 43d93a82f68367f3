# SPDX-License-Identifier: Apache-2.0
"""[nova]: how the compute API is reached, as keystoneauth defines it.

The API calls Nova with the token of its caller and reads the connection and the endpoint here
(``cafile``, ``timeout``, ``region_name``, ``valid_interfaces`` and so on). The conductor needs credentials
as well (``auth_type``, ``auth_url``, ``username`` and so on), of a user who may list the services and the
servers of all projects. Where the catalog has several regions, ``region_name`` must be set.
"""

from typing import Any

from keystoneauth1 import loading
from oslo_config import cfg

GROUP = "nova"

_DEFAULTS: dict[str, Any] = {
    "timeout": 30,  # seconds: somebody waits for an answer that depends on Nova's
    "service_type": "compute",
    "valid_interfaces": ["internal", "public"],
}
# The ways to authenticate whose options are shown; there are more.
_SHOWN = ("password", "v3applicationcredential")


def register(conf: cfg.ConfigOpts) -> None:
    """Register the options of the group."""
    loading.register_session_conf_options(conf, GROUP)
    loading.register_auth_conf_options(conf, GROUP)
    loading.register_adapter_conf_options(conf, GROUP)
    for name, value in _DEFAULTS.items():
        conf.set_default(name, value, group=GROUP)


def list_opts() -> list[cfg.Opt]:
    """All options of the group with those of the usual ways to authenticate, for oslo-config-generator."""
    options = [
        *loading.get_session_conf_options(),
        *loading.get_auth_common_conf_options(),
        *list_credentials(),
        *loading.get_adapter_conf_options(),
    ]
    cfg.set_defaults(options, **_DEFAULTS)
    return options


def list_credentials() -> list[cfg.Opt]:
    """The options of the usual ways to authenticate."""
    shown = [option for way in _SHOWN for option in loading.get_auth_plugin_conf_options(way)]
    return list({option.dest: option for option in reversed(shown)}.values())[::-1]
