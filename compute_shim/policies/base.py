# SPDX-License-Identifier: Apache-2.0
"""What the rules of the nouns are made of."""

from oslo_policy import policy

#: What the name of every rule about a noun begins with.
PREFIX = "usb-passthrough"

ADMIN = "rule:admin_api"
READER = "rule:project_reader"
MEMBER = "rule:project_member"
MANAGE_SHARING = "rule:manage_sharing"

RULES = [
    policy.RuleDefault("admin_api", "role:admin", "Cloud administrator."),
    policy.RuleDefault(
        "project_reader",
        "rule:admin_api or (role:reader and project_id:%(project_id)s)",
        "Project reader.",
    ),
    policy.RuleDefault(
        "project_member",
        "rule:admin_api or (role:member and project_id:%(project_id)s)",
        "Project member.",
    ),
    policy.RuleDefault("manage_sharing", "rule:admin_api", "Decides which projects may attach a device."),
]


def rule(
    noun: str, verb: str, check: str, description: str, *operations: tuple[str, str]
) -> policy.DocumentedRuleDefault:
    """The rule for one thing that can be done.

    :param operations: method and path of the requests for which it is asked.
    """
    return policy.DocumentedRuleDefault(
        name=f"{PREFIX}:{noun}:{verb}",
        check_str=check,
        description=description,
        operations=[{"method": method, "path": path} for method, path in operations],
        scope_types=["project"],
    )
