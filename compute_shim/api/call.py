# SPDX-License-Identifier: Apache-2.0
"""What a handler gets: the service, and the request that it answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import webob
from keystoneauth1 import plugin as ks_plugin
from oslo_config import cfg
from oslo_context import context as oslo_context
from oslo_policy import policy

from compute_shim import exception, nova, request_ids
from compute_shim.api import validation
from compute_shim.db.api import Database
from compute_shim.db.events import Actor

CONTEXT = "compute_shim.context"


class Compute(Protocol):
    """The interface to Nova (`compute_shim.nova.Nova`)."""

    def server(self, auth: ks_plugin.BaseAuthPlugin, server_id: str) -> nova.Server: ...

    def own_servers(self, auth: ks_plugin.BaseAuthPlugin) -> list[nova.Server]: ...

    def sees_all_projects(self, auth: ks_plugin.BaseAuthPlugin) -> bool: ...


class Identity(Protocol):
    """The interface to Keystone (`compute_shim.keystone.Keystone`)."""

    def lacks_project(self, auth: ks_plugin.BaseAuthPlugin, project_id: str) -> bool: ...

    def limits(self, project_id: str) -> Mapping[str, int]: ...


class Nudger(Protocol):
    """Tells agents of changes (`compute_shim.nudger.Nudger`)."""

    def nudge(self, device_id: str, context: Mapping[str, Any]) -> None: ...


@dataclasses.dataclass(frozen=True)
class Service:
    """What all requests share."""

    conf: cfg.ConfigOpts
    db: Database
    nova: Compute
    keystone: Identity
    nudger: Nudger
    policy: policy.Enforcer


@dataclasses.dataclass(frozen=True)
class Call:
    """One request to the service."""

    service: Service
    request: webob.Request
    # What the policy says of the caller's own, by the name of the rule: handlers ask more than once.
    _allowed: dict[str, bool] = dataclasses.field(default_factory=dict)

    @property
    def project_id(self) -> str:
        """The project that the caller works in."""
        return self._context.project_id

    @property
    def token(self) -> ks_plugin.BaseAuthPlugin:
        """The caller's own credentials (keystonemiddleware, "What auth_token adds to the request")."""
        return self.request.environ["keystone.token_auth"]

    @property
    def _context(self) -> oslo_context.RequestContext:
        return self.request.environ[CONTEXT]

    @property
    def actor(self) -> Actor:
        """The caller, for the history."""
        return Actor(self._context.user_id, self._context.request_id, self._context.project_id)

    def nudge(self, device_id: str) -> None:
        """Have the agent of a device's host told that the intent for the device changed."""
        self.service.nudger.nudge(device_id, request_ids.carried(self._context))

    def may(self, rule: policy.DocumentedRuleDefault, target: Mapping[str, Any] | None = None) -> bool:
        """Whether the policy allows this to the caller.

        :param target: ``project_id`` and ``user_id`` of what it is to be done with; None: the caller's own.
        """
        if self.project_id is None:
            return False
        if target is not None:
            return self.service.policy.authorize(rule.name, dict(target), self._context)
        if rule.name not in self._allowed:
            own = {"project_id": self.project_id, "user_id": self._context.user_id}
            self._allowed[rule.name] = self.service.policy.authorize(rule.name, own, self._context)
        return self._allowed[rule.name]

    def authorize(self, rule: policy.DocumentedRuleDefault, target: Mapping[str, Any] | None = None) -> None:
        """Go on only if the policy allows this; the target is that of `may`.

        :raises compute_shim.exception.Forbidden: it does not
        """
        if not self.may(rule, target):
            raise exception.Forbidden(
                f"Policy does not allow {rule.name}. A project-scoped token with the required role is needed."
            )

    def body(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The JSON body; raises as `validation.body`."""
        return validation.body(self.request, schema)

    def query(self, schema: dict[str, Any]) -> dict[str, str]:
        """The parameters of the query; raises as `validation.query`."""
        return validation.query(self.request, schema)
