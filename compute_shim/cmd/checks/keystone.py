# SPDX-License-Identifier: Apache-2.0
"""Check the credentials with which the API validates tokens, and the service's entry in the catalog."""

from __future__ import annotations

from keystoneauth1 import access as ks_access
from keystoneauth1 import identity as ks_identity
from keystoneauth1 import loading
from keystoneauth1 import session as ks_session
from oslo_config import cfg
from oslo_upgradecheck.upgradecheck import Result

from compute_shim import credentials
from compute_shim.cmd.checks import identity
from compute_shim.cmd.checks.results import Installation, found
from compute_shim.conf import nova
from compute_shim.conf.keystone_authtoken import GROUP
from compute_shim.keystone import Keystone

_SERVICE = "usb-passthrough"
# Seconds for one answer of Keystone.
_TIMEOUT = 5
# To whom Keystone's default policy shows the tokens of others (keystone/common/policies/token.py).
_VALIDATORS = {"admin", "service"}


def check(installation: Installation) -> Result:
    """Clients without a token can be told where to get one, tokens can be validated, clients find us."""
    conf = installation.conf
    failures = []
    if not conf[GROUP].www_authenticate_uri:
        failures.append(f"[{GROUP}] www_authenticate_uri is not set. Set it to Keystone's public URL.")
    try:
        access = _log_in(conf)
    except credentials.Unusable as error:
        return found([*failures, str(error)])
    missing, role = _catalog(access, conf[nova.GROUP].region_name), _role(access)
    return found([*failures, *([missing] if missing else [])], [role] if role else [])


def check_quota(installation: Installation) -> Result:
    """Keystone has the limits of projects, if there are to be any."""
    try:
        problem = Keystone(installation.conf).quota_problem()
    except cfg.Error as error:
        problem = f"The quota cannot be used: {error}. Check [oslo_limit]."
    return found([problem] if problem else [])


def _log_in(conf: cfg.ConfigOpts) -> ks_access.AccessInfo:
    auth = credentials.load(conf, GROUP)
    if auth is None:
        raise credentials.Unusable(
            f"[{GROUP}] auth_type is not set, so no token can be validated. Set it to password."
        )
    if not isinstance(auth, ks_identity.BaseIdentityPlugin):
        raise credentials.Unusable(
            f"[{GROUP}] auth_type = {conf[GROUP].auth_type} does not log in to Keystone. Set it to password."
        )
    return identity.log_in(auth, _session(conf[GROUP]), GROUP)


def _session(options: cfg.ConfigOpts.GroupAttr) -> ks_session.Session:
    """As keystonemiddleware makes it (``AuthProtocol._create_session``)."""
    return loading.session.Session().load_from_options(
        cert=options.certfile,
        key=options.keyfile,
        cacert=options.cafile,
        insecure=options.insecure,
        timeout=_TIMEOUT,
    )


def _role(access: ks_access.AccessInfo) -> str | None:
    if _VALIDATORS & set(access.role_names):
        return None
    return (
        f"The user of [{GROUP}] has neither the role admin nor service, so Keystone may not let it validate"
        f" tokens. Grant one: openstack role add --project {access.project_name} --user {access.username}"
        " service"
    )


def _catalog(access: ks_access.AccessInfo, region: str | None) -> str | None:
    create = (
        f"openstack endpoint create --region {region or 'REGION'} {_SERVICE} public http://CONTROLLER:9815"
    )
    endpoints = access.service_catalog.get_endpoints_data(service_type=_SERVICE).get(_SERVICE, [])
    if not endpoints:
        return (
            f"The catalog of Keystone has no endpoint of {_SERVICE}, so no client finds the API. Create it:"
            f" {create}"
        )
    regions = {endpoint.region_name for endpoint in endpoints if endpoint.interface == "public"}
    if not regions:
        return (
            f"The catalog has no public endpoint of {_SERVICE}, which clients use by default. Create it:"
            f" {create}"
        )
    if region and region not in regions:
        there = ", ".join(sorted(filter(None, regions)))
        return (
            f"The catalog has the public endpoint of {_SERVICE} in {there}, not in {region}. Correct"
            f" [nova] region_name, or create it: {create}"
        )
    return None
