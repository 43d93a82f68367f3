# SPDX-License-Identifier: Apache-2.0
"""Who may do what: one module per noun, as oslo.policy rules that an operator may override."""

from oslo_config import cfg
from oslo_policy import policy

from compute_shim import conf as configuration
from compute_shim.policies import attachments, base, devices, events, hosts, kinds, queue


def list_rules() -> list[policy.RuleDefault]:
    """All rules (entry point ``oslo.policy.policies``)."""
    nouns = (base, devices, events, attachments, kinds, queue, hosts)
    return [rule for noun in nouns for rule in noun.RULES]


def enforcer(conf: cfg.ConfigOpts) -> policy.Enforcer:
    """All rules, as the files of ``[oslo_policy]`` change them."""
    found = policy.Enforcer(conf)
    found.register_defaults(list_rules())
    return found


def tools_enforcer() -> policy.Enforcer:
    """The same for the commands of oslo.policy (entry point ``oslo.policy.enforcer``).

    They read the global configuration. Of that it takes the files: those of ``--config-file``; without it our
    own are read.
    """
    files = cfg.CONF.config_file or []
    return enforcer(configuration.load([f"--config-file={file}" for file in files]))
