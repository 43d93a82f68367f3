# SPDX-License-Identifier: Apache-2.0
"""Placement, if devices are offered there."""

from __future__ import annotations

from keystoneauth1 import identity as ks_identity
from keystoneauth1 import loading
from oslo_upgradecheck.upgradecheck import Result

from compute_shim import credentials, placement
from compute_shim.cmd.checks import identity
from compute_shim.cmd.checks.results import Installation, found
from compute_shim.conf import nova
from compute_shim.conf.placement import GROUP


def check(installation: Installation) -> Result:
    """Placement answers, and the conductor may use it."""
    conf = installation.conf
    if not conf[GROUP].enabled:
        return found()
    failures = []
    if not conf[nova.GROUP].auth_type:
        failures.append(
            f"[{GROUP}] enabled is true and [{nova.GROUP}] auth_type is not set, so no device is offered."
            f" Set the credentials of [{nova.GROUP}], or enabled = false."
        )
    try:
        api = placement.Placement(conf)
        auth = credentials.load(conf, GROUP)
        if isinstance(auth, ks_identity.BaseIdentityPlugin):
            session = loading.load_session_from_conf_options(conf, GROUP)
            identity.find_endpoint(conf[GROUP], identity.log_in(auth, session, GROUP), GROUP)
        # A name that nobody has: the answer is short, and needs the role that writing needs.
        api.providers(placement.provider_name(""))
    except credentials.Unusable as error:
        failures.append(str(error))
    except placement.Failure as error:
        failures.append(
            f"Placement does not answer as it should: {error}. Check that it runs, its endpoint in the"
            f" catalog, and that the user of [{GROUP}] has the role admin or service."
        )
    return found(failures)
