# SPDX-License-Identifier: Apache-2.0
"""The options by which another service of OpenStack is reached, as keystoneauth defines them."""

from __future__ import annotations

from typing import Any

from keystoneauth1 import loading
from oslo_config import cfg

# The ways to authenticate whose options are shown; there are more.
_SHOWN = ("password", "v3applicationcredential")


def defaults(service_type: str) -> dict[str, Any]:
    """What we have otherwise than keystoneauth.

    :param service_type: in the catalog.
    """
    return {
        "timeout": 30,  # seconds: somebody waits for an answer that depends on that of the service
        "service_type": service_type,
        "valid_interfaces": ["internal", "public"],
    }


def register(conf: cfg.ConfigOpts, group: str, service_type: str) -> None:
    """Register the options of a group."""
    loading.register_session_conf_options(conf, group)
    loading.register_auth_conf_options(conf, group)
    loading.register_adapter_conf_options(conf, group)
    for name, value in defaults(service_type).items():
        conf.set_default(name, value, group=group)


def list_opts(service_type: str) -> list[cfg.Opt]:
    """All options of a group with those of the usual ways to authenticate, for oslo-config-generator."""
    options = [
        *loading.get_session_conf_options(),
        *loading.get_auth_common_conf_options(),
        *list_credentials(),
        *loading.get_adapter_conf_options(),
    ]
    cfg.set_defaults(options, **defaults(service_type))
    return options


def list_credentials() -> list[cfg.Opt]:
    """The options of the usual ways to authenticate."""
    shown = [option for way in _SHOWN for option in loading.get_auth_plugin_conf_options(way)]
    return list({option.dest: option for option in reversed(shown)}.values())[::-1]
