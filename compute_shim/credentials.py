# SPDX-License-Identifier: Apache-2.0
"""Credentials for Keystone out of a section of the configuration."""

from __future__ import annotations

from keystoneauth1 import exceptions as ks_exceptions
from keystoneauth1 import loading
from keystoneauth1 import plugin as ks_plugin
from oslo_config import cfg

# What Keystone needs of those who have a password, by either name.
_NEEDED = (("username", "user_id"), ("password",))


class Unusable(Exception):
    """The credentials cannot be used; the text names the option and the way out."""


def load(conf: cfg.ConfigOpts, group: str) -> ks_plugin.BaseAuthPlugin | None:
    """The credentials of a section, None without ``auth_type``. Nobody is asked yet.

    :raises Unusable: they are incomplete
    """
    try:
        auth = loading.load_auth_from_conf_options(conf, group)
    except ks_exceptions.MissingRequiredOptions as error:
        missing = ", ".join(option.dest for option in error.options)
        raise Unusable(f"[{group}] {missing} is not set. Set it.") from None
    except ks_exceptions.AuthPluginException as error:
        raise Unusable(f"[{group}] auth_type: {error}. Correct it; it is usually password.") from None
    if auth is None:
        return None
    section = conf[conf[group].auth_section or group]
    for names in _NEEDED:
        # Other ways to authenticate do not have these options.
        if names[0] in section and not any(section.get(name) for name in names):
            raise Unusable(f"[{group}] {names[0]} is not set. Set it.")
    return auth
