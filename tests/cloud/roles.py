# SPDX-License-Identifier: Apache-2.0
"""Real tokens of every kind: each role in each scope."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterator
from typing import Any

from keystoneauth1 import exceptions, session
from keystoneauth1.identity import v3

from lab.cloud.rest import Rest
from lab.cloud.site import Site

#: Roles that Keystone makes at bootstrap; each of the first four has all those after it.
ROLES = ("admin", "manager", "member", "reader", "service")
#: Where a token is good: the project of the server in question, another, or none.
PROJECTS = {"own": "demo", "other": "other"}
SCOPES = (*PROJECTS, "domain", "system")


@dataclasses.dataclass(frozen=True)
class Caller:
    """Somebody with a token.

    :param role: of the token, None of an unscoped one.
    :param scope: one of `SCOPES`, ``unscoped``, or ``nobody`` without a token, ``stranger`` with a bad one.
    :param token: None for nobody.
    """

    role: str | None
    scope: str
    token: str | None

    def __str__(self) -> str:
        return f"{self.role or 'no role'} in {self.scope}"

    @property
    def project_roles(self) -> set[str]:
        """What Keystone's implied roles make of the role, if it is one in a project."""
        if self.role is None or self.scope not in PROJECTS:
            return set()
        if self.role == "service":
            return {"service"}
        return set(ROLES[ROLES.index(self.role) : ROLES.index("service")])


def callers(site: Site) -> Iterator[Caller]:
    """One for each role in each scope, and those that have neither."""
    admin = Rest(site, "admin").identity
    ids = {role["name"]: role["id"] for role in admin.get("/roles").json()["roles"]}
    projects = {project["name"]: project["id"] for project in admin.get("/projects").json()["projects"]}
    for role in ROLES:
        name, password = f"matrix-{role}", secrets.token_urlsafe(16)
        user_id = _user(admin, name, password)
        for path in (
            *(f"/projects/{projects[project]}" for project in PROJECTS.values()),
            "/domains/default",
            "/system",
        ):
            admin.put(f"{path}/users/{user_id}/roles/{ids[role]}")
        for scope in SCOPES:
            yield Caller(role, scope, _token(site, name, password, **_scope(scope)))
    yield Caller(None, "unscoped", _token(site, name, password, unscoped=True))
    yield Caller(None, "nobody", None)
    yield Caller(None, "stranger", secrets.token_urlsafe(32))


def _user(admin: Any, name: str, password: str) -> str:
    """The id of a user with this password, made if need be."""
    body = {"name": name, "password": password, "domain_id": "default"}
    try:
        return str(admin.post("/users", json={"user": body}).json()["user"]["id"])
    except exceptions.Conflict:
        [found] = admin.get("/users", params={"name": name}).json()["users"]
        admin.patch(f"/users/{found['id']}", json={"user": {"password": password}})
        return str(found["id"])


def _scope(name: str) -> dict[str, str]:
    if name in PROJECTS:
        return {"project_name": PROJECTS[name], "project_domain_id": "default"}
    return {"domain_id": "default"} if name == "domain" else {"system_scope": "all"}


def _token(site: Site, name: str, password: str, **scope: Any) -> str:
    auth = v3.Password(
        site.url("keystone", "/v3"), username=name, password=password, user_domain_id="default", **scope
    )
    token = session.Session(auth).get_token()
    assert token is not None
    return token
