# SPDX-License-Identifier: Apache-2.0
"""Who may do what: one module per noun, as oslo.policy rules that an operator may override."""

from oslo_policy import policy

from compute_shim.policies import attachments, base, devices, events, hosts, kinds


def list_rules() -> list[policy.RuleDefault]:
    """All rules (entry point ``oslo.policy.policies``)."""
    return [*base.RULES, *devices.RULES, *events.RULES, *attachments.RULES, *kinds.RULES, *hosts.RULES]
