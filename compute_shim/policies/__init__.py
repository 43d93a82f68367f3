# SPDX-License-Identifier: Apache-2.0
"""Who may do what: one module per noun, as oslo.policy rules that an operator may override."""

from oslo_policy import policy

from compute_shim.policies import attachments, base, devices, events, hosts, kinds, queue


def list_rules() -> list[policy.RuleDefault]:
    """All rules (entry point ``oslo.policy.policies``)."""
    nouns = (base, devices, events, attachments, kinds, queue, hosts)
    return [rule for noun in nouns for rule in noun.RULES]
