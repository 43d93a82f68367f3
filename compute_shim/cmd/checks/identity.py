# SPDX-License-Identifier: Apache-2.0
"""Credentials of a section of the configuration, tried at Keystone."""

from __future__ import annotations

from keystoneauth1 import access as ks_access
from keystoneauth1 import exceptions as ks_exceptions
from keystoneauth1 import identity, loading
from keystoneauth1 import plugin as ks_plugin
from keystoneauth1 import session as ks_session
from oslo_config import cfg

# What Keystone needs of those who have a password, by either name.
_NEEDED = (("username", "user_id"), ("password",))


class Unusable(Exception):
    """The credentials cannot be used; the text names the option and the way out."""


def credentials(conf: cfg.ConfigOpts, group: str) -> ks_plugin.BaseAuthPlugin | None:
    """The credentials of a section, None without ``auth_type``.

    :raises Unusable: they are incomplete
    """
    try:
        auth = loading.load_auth_from_conf_options(conf, group)
    except ks_exceptions.MissingRequiredOptions as error:
        missing = ", ".join(option.dest for option in error.options)
        raise Unusable(f"[{group}] {missing} is not set. Set it.") from None
    except ks_exceptions.AuthPluginException as error:
        raise Unusable(f"[{group}] auth_type: {error}. Correct it; it is usually password.") from None
    except cfg.NoSuchOptError as error:
        raise Unusable(f"[{group}] auth_section names no section with credentials: {error}.") from None
    section = conf[conf[group].auth_section or group]
    for names in _NEEDED:
        # Other ways to authenticate do not have these options.
        if names[0] in section and not any(section.get(name) for name in names):
            raise Unusable(f"[{group}] {names[0]} is not set. Set it.")
    return auth


def log_in(
    auth: identity.BaseIdentityPlugin, session: ks_session.Session, group: str
) -> ks_access.AccessInfo:
    """What Keystone gives for credentials.

    :raises Unusable: nothing
    """
    there = f"Keystone at {auth.auth_url}"
    try:
        access = auth.get_access(session)
    except (ks_exceptions.Unauthorized, ks_exceptions.BadRequest) as error:
        raise Unusable(
            f"{there} refuses the credentials of [{group}]: {error}. Check username, password,"
            " user_domain_name, project_name and project_domain_name there."
        ) from None
    except (ks_exceptions.NotFound, ks_exceptions.DiscoveryFailure) as error:
        raise Unusable(
            f"What answers at {auth.auth_url} is not Keystone: {error}. Check [{group}] auth_url; it is like"
            " http://controller:5000/v3."
        ) from None
    except ks_exceptions.SSLError as error:
        raise Unusable(f"{there} is not trusted: {error}. Check [{group}] cafile and auth_url.") from None
    except ks_exceptions.ClientException as error:
        raise Unusable(
            f"{there} cannot be used: {error}. Check [{group}] auth_url, and that Keystone runs."
        ) from None
    if not (access.project_scoped or access.domain_scoped or access.system_scoped):
        raise Unusable(f"[{group}] project_name is not set, so Keystone gives no catalog. Set it.")
    return access
