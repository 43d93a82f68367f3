# SPDX-License-Identifier: Apache-2.0
"""Nova, with the credentials of ``[nova]``."""

from __future__ import annotations

from keystoneauth1 import identity as ks_identity
from keystoneauth1 import loading
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
            identity.find_endpoint(conf[GROUP], identity.log_in(auth, session, GROUP), GROUP)
    except credentials.Unusable as error:
        return found([str(error)])
    result = nova_checks.check(conf, installation.db)
    return found([result.error] if result.error else [], result.warnings)
