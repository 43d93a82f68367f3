# SPDX-License-Identifier: Apache-2.0
"""What Horizon's own enforcer makes of the policy that the plugin brings along."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from django.conf import settings
from django.http import HttpRequest
from django.test import override_settings
from openstack_auth import policy as enforcer
from openstack_auth import user
from openstack_dashboard.management.commands import dump_default_policies

from compute_shim import policies

SCOPE = "usb-passthrough"
ROLES = {"nobody": [], "reader": ["reader"], "member": ["member", "reader"], "admin": ["admin"]}

# What each role is offered beyond the one before it.
OFFERED = {
    "nobody": set(),
    "reader": {
        "devices:list",
        "devices:show",
        "devices:explain",
        "kinds:list",
        "events:list",
        "attachments:list",
        "queue:list",
    },
    "member": {
        "attachments:create",
        "attachments:update",
        "attachments:delete",
        "queue:join",
        "queue:leave",
    },
    "admin": {
        "devices:see_all",
        "devices:update",
        "devices:delete",
        "devices:release",
        "devices:share",
        "attachments:any_server",
        "hosts:list",
        "hosts:show",
        "hosts:delete",
    },
}
RULES = set().union(*OFFERED.values())


@pytest.fixture(autouse=True)
def fresh_enforcer() -> Iterator[None]:
    """The enforcer keeps what it has read."""
    enforcer.reset()
    yield
    enforcer.reset()


def offered(monkeypatch: pytest.MonkeyPatch, role: str, project: str = "mine") -> set[str]:
    """What Horizon offers to a user of the project "mine", in a project."""
    roles = [{"name": name} for name in ROLES[role]]
    known = user.User(id="somebody", project_id="mine", roles=roles)
    monkeypatch.setattr("openstack_auth.utils.get_user", lambda request: known)
    target = {"project_id": project}
    return {
        rule for rule in RULES if enforcer.check(((SCOPE, f"{SCOPE}:{rule}"),), HttpRequest(), dict(target))
    }


@pytest.mark.parametrize("role", ROLES)
def test_what_a_role_is_offered(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    roles = list(ROLES)
    expected = set().union(*(OFFERED[name] for name in roles[: roles.index(role) + 1]))
    assert offered(monkeypatch, role) == expected


def test_the_project_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert offered(monkeypatch, "member", "another") == set()
    assert offered(monkeypatch, "admin", "another") == RULES


def test_the_operator_need_not_have_a_file_but_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Path(settings.POLICY_FILES_PATH, settings.POLICY_FILES[SCOPE]).exists()
    (tmp_path / settings.POLICY_FILES[SCOPE]).write_text(f'"{SCOPE}:attachments:create": "rule:admin_api"\n')
    monkeypatch.setattr(enforcer, "_BASE_PATH", str(tmp_path))
    assert offered(monkeypatch, "member") == (OFFERED["reader"] | OFFERED["member"] - {"attachments:create"})


def test_without_our_settings_everything_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why they matter; the service refuses all the same."""
    with override_settings(POLICY_FILES={}):
        assert offered(monkeypatch, "nobody") == RULES


def test_the_rules_are_those_of_the_service() -> None:
    shipped = yaml.safe_load(Path(settings.DEFAULT_POLICY_FILES[SCOPE]).read_text())
    assert shipped == [dump_default_policies._format_default_policy(rule) for rule in policies.list_rules()]
