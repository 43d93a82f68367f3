# SPDX-License-Identifier: Apache-2.0
"""Projects, users, roles and the service catalog."""

from __future__ import annotations

from lab.cloud.config import REGION
from lab.cloud.rest import Rest
from lab.cloud.site import Site

# user, type and name in the catalog, port, path
_SERVICES = (
    ("placement", "placement", "placement", "placement", ""),
    ("glance", "image", "glance", "glance", ""),
    ("nova", "compute", "nova", "nova-api", "/v2.1"),
    ("neutron", "network", "neutron", "neutron", ""),
    ("usb-shim", "usb-passthrough", "usb-shim", "usb-shim-api", ""),
)
_MEMBERS = ("demo", "other")


def seed(site: Site) -> None:
    """Create the service users with their endpoints, and two users, each in a project of the same name.

    What keystone-manage bootstrap creates exists already.
    """
    identity = Rest(site, "admin").identity
    roles = {role["name"]: role["id"] for role in identity.get("/roles").json()["roles"]}

    def project(name: str) -> str:
        return create("project", {"name": name, "domain_id": "default"})

    def user(name: str, project_id: str, *granted: str) -> None:
        body = {"name": name, "password": site.passwords[name], "domain_id": "default"}
        user_id = create("user", {**body, "default_project_id": project_id})
        for role in granted:
            identity.put(f"/projects/{project_id}/users/{user_id}/roles/{roles[role]}")

    def create(kind: str, body: dict[str, object]) -> str:
        created: str = identity.post(f"/{kind}s", json={kind: body}).json()[kind]["id"]
        return created

    service_project = project("service")
    for name, kind, catalog_name, port, path in _SERVICES:
        user(name, service_project, "admin", "service")
        service = create("service", {"type": kind, "name": catalog_name})
        for interface in ("public", "internal"):
            create(
                "endpoint",
                {
                    "service_id": service,
                    "interface": interface,
                    "url": site.url(port, path),
                    "region_id": REGION,
                },
            )
    for name in _MEMBERS:
        user(name, project(name), "member")
