# SPDX-License-Identifier: Apache-2.0
"""Credentials, tried at Keystone."""

from __future__ import annotations

from keystoneauth1 import access as ks_access
from keystoneauth1 import exceptions as ks_exceptions
from keystoneauth1 import identity
from keystoneauth1 import session as ks_session
from oslo_config import cfg

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


def find_endpoint(options: cfg.ConfigOpts.GroupAttr, access: ks_access.AccessInfo, group: str) -> None:
    """Make sure that the catalog has the endpoint that a section names.

    :raises compute_shim.credentials.Unusable: it does not
    """
    kind, catalog = options.service_type, access.service_catalog
    if options.endpoint_override or catalog.get_endpoints_data(
        kind, interface=options.valid_interfaces, region_name=options.region_name
    ).get(kind):
        return
    there = [
        f"{endpoint.interface} in {endpoint.region_name}"
        for endpoint in catalog.get_endpoints_data(kind).get(kind, [])
    ]
    if not there:
        raise credentials.Unusable(
            f"The catalog of Keystone has no service {kind}. Check [{group}] service_type and auth_url."
        )
    wanted = f"valid_interfaces = {','.join(options.valid_interfaces)}"
    if options.region_name:
        wanted = f"region_name = {options.region_name} and {wanted}"
    raise credentials.Unusable(
        f"The catalog has no endpoint of {kind} for [{group}] {wanted}. It has: {', '.join(there)}."
        " Correct the options."
    )
