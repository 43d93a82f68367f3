# SPDX-License-Identifier: Apache-2.0
"""Nova, with the credentials of ``[nova]``."""

from __future__ import annotations

from keystoneauth1 import access as ks_access
from keystoneauth1 import identity as ks_identity
from keystoneauth1 import loading
from oslo_config import cfg
from oslo_upgradecheck.upgradecheck import Result

from compute_shim import credentials
from compute_shim.cmd.checks import identity
from compute_shim.cmd.checks.results import Installation, found
from compute_shim.conductor import nova_checks
from compute_shim.conf.nova import GROUP


def check(installation: Installation) -> Result:
    """The Nova of [nova] is that of the agents' hosts, and the conductor may ask it."""
    conf = installation.conf
    try:
        auth = credentials.load(conf, GROUP)
        if isinstance(auth, ks_identity.BaseIdentityPlugin):
            session = loading.load_session_from_conf_options(conf, GROUP)
            _find_endpoint(conf, identity.log_in(auth, session, GROUP))
    except credentials.Unusable as error:
        return found([str(error)])
    result = nova_checks.check(conf, installation.db)
    return found([result.error] if result.error else [], result.warnings)


def _find_endpoint(conf: cfg.ConfigOpts, access: ks_access.AccessInfo) -> None:
    options = conf[GROUP]
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
            f"The catalog of Keystone has no service {kind}. Check [{GROUP}] service_type and auth_url."
        )
    wanted = f"valid_interfaces = {','.join(options.valid_interfaces)}"
    if options.region_name:
        wanted = f"region_name = {options.region_name} and {wanted}"
    raise credentials.Unusable(
        f"The catalog has no endpoint of {kind} for [{GROUP}] {wanted}. It has: {', '.join(there)}."
        " Correct the options."
    )
