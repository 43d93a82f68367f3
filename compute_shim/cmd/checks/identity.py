# SPDX-License-Identifier: Apache-2.0
"""Credentials, tried at Keystone."""

from __future__ import annotations

from keystoneauth1 import access as ks_access
from keystoneauth1 import exceptions as ks_exceptions
from keystoneauth1 import identity
from keystoneauth1 import session as ks_session

from compute_shim import credentials


def log_in(
    auth: identity.BaseIdentityPlugin, session: ks_session.Session, group: str
) -> ks_access.AccessInfo:
    """The token data that Keystone returns for credentials.

    :raises compute_shim.credentials.Unusable: Keystone returns no token
    """
    there = f"Keystone at {auth.auth_url}"
    try:
        access = auth.get_access(session)
    except (ks_exceptions.Unauthorized, ks_exceptions.BadRequest) as error:
        raise credentials.Unusable(
            f"{there} refuses the credentials of [{group}]: {error}. Check username, password,"
            " user_domain_name, project_name and project_domain_name there."
        ) from None
    except (ks_exceptions.NotFound, ks_exceptions.DiscoveryFailure) as error:
        raise credentials.Unusable(
            f"What answers at {auth.auth_url} is not Keystone: {error}. Check [{group}] auth_url; it is like"
            " http://controller:5000/v3."
        ) from None
    except ks_exceptions.SSLError as error:
        raise credentials.Unusable(
            f"{there} is not trusted: {error}. Check [{group}] cafile and auth_url."
        ) from None
    except ks_exceptions.ClientException as error:
        raise credentials.Unusable(
            f"{there} cannot be used: {error}. Check [{group}] auth_url, and that Keystone runs."
        ) from None
    if not (access.project_scoped or access.domain_scoped or access.system_scoped):
        raise credentials.Unusable(
            f"[{group}] project_name is not set, so Keystone gives no catalog. Set it."
        )
    return access
