# SPDX-License-Identifier: Apache-2.0
"""Who may do what, by default."""

from __future__ import annotations

import pytest
from oslo_config import cfg
from oslo_context import context as oslo_context
from oslo_policy import policy

from compute_shim import policies

ROLES = {
    "nobody": [],
    "reader": ["reader"],
    "member": ["member", "reader"],
    "admin": ["admin", "member", "reader"],
}

# What each role may do beyond the one before it.
ALLOWED = {
    "nobody": set(),
    "reader": {
        "devices:list",
        "devices:show",
        "devices:explain",
        "events:list",
        "kinds:list",
        "queue:list",
        "attachments:list",
    },
    "member": {"attachments:create", "attachments:update", "attachments:delete", "queue:join", "queue:leave"},
    "admin": {
        "devices:see_all",
        "devices:update",
        "devices:share",
        "devices:delete",
        "devices:release",
        "events:list_all",
        "attachments:any_server",
        "hosts:list",
        "hosts:show",
        "hosts:delete",
    },
}


@pytest.fixture
def enforcer() -> policy.Enforcer:
    """Without a policy file."""
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[], default_config_dirs=[])
    enforcer = policy.Enforcer(conf)
    enforcer.register_defaults(policies.list_rules())
    return enforcer


def allowed(enforcer: policy.Enforcer, context: oslo_context.RequestContext) -> set[str]:
    names = [rule.name for rule in policies.list_rules() if ":" in rule.name]
    target = {"project_id": "demo", "user_id": "somebody"}
    return {name.split(":", 1)[1] for name in names if enforcer.authorize(name, target, context)}


@pytest.mark.parametrize("role", ROLES)
def test_what_a_role_may_do(role: str, enforcer: policy.Enforcer) -> None:
    roles = list(ROLES)
    expected = set().union(*(ALLOWED[name] for name in roles[: roles.index(role) + 1]))
    context = oslo_context.RequestContext(roles=ROLES[role], project_id="demo")
    assert allowed(enforcer, context) == expected


def test_the_project_counts(enforcer: policy.Enforcer) -> None:
    context = oslo_context.RequestContext(roles=ROLES["member"], project_id="other")
    assert allowed(enforcer, context) == set()


@pytest.mark.parametrize("scope", [{"system_scope": "all"}, {"domain_id": "default"}], ids=str)
def test_only_tokens_of_a_project_count(scope: dict[str, str], enforcer: policy.Enforcer) -> None:
    context = oslo_context.RequestContext(roles=ROLES["admin"], **scope)
    assert allowed(enforcer, context) == set()


def test_all_rules_are_documented() -> None:
    for rule in policies.list_rules():
        assert rule.description.endswith(".")
        if ":" in rule.name:
            assert rule.operations
            assert rule.scope_types == ["project"]
