# SPDX-License-Identifier: Apache-2.0
"""The order in which the control plane starts. Independent steps run in parallel."""

from __future__ import annotations

import concurrent.futures
from typing import Any

from lab.cloud import compute, databases, identity, services
from lab.cloud.forks import Forks
from lab.cloud.process import Processes
from lab.cloud.rest import Rest
from lab.cloud.site import Site
from lab.cloud.timeline import Timeline

Step = concurrent.futures.Future[Any]


class Control:
    """Starts the control plane; the attributes are the steps that others wait for."""

    def __init__(self, timeline: Timeline, site: Site, processes: Processes):
        self.nova_manage = Forks("nova-manage", "nova.cmd.manage", processes)
        keystone_manage = Forks("keystone-manage", "keystone.cmd.manage", processes)
        step = timeline.step

        def wsgi(name: str, *after: Step) -> Step:
            return step(f"{name} answers", lambda: services.start_wsgi(name, site, processes), *after)

        def worker(name: str, *after: Step) -> Step:
            return step(f"{name} runs", lambda: services.start_nova_worker(name, site, processes), *after)

        def keystone_schema() -> None:
            databases.keystone(site, keystone_manage)
            keystone_manage.close()

        mariadb = step("MariaDB answers", lambda: databases.start(site, processes))
        rabbitmq = step("RabbitMQ answers", lambda: services.start_rabbitmq(site, processes))
        keystone = step("Keystone's tables", keystone_schema, mariadb)
        nova = step("Nova's tables", lambda: databases.nova(site, self.nova_manage), mariadb)
        placement = step("Placement's tables", lambda: databases.placement(processes), mariadb)
        glance = step("Glance's tables", lambda: databases.glance(processes), mariadb)
        neutron = step("Neutron's tables", lambda: databases.neutron(site, processes), mariadb)
        usb_shim = step("usb-shim's tables", lambda: databases.usb_shim(processes), mariadb)

        keystone_api = wsgi("keystone", keystone)
        seeded = step("users and catalog", lambda: identity.seed(site), keystone_api)
        neutron_api = wsgi("neutron", neutron, rabbitmq)
        self.apis = [
            wsgi("placement", placement),
            wsgi("glance", glance),
            wsgi("nova-api", nova, rabbitmq),
            step("neutron is warm", lambda: compute.warm_network(Rest(site, "admin")), neutron_api, seeded),
        ]
        # Both end at once when Keystone does not know the user that they ask Placement as.
        self.conductor = worker("nova-conductor", seeded, nova, rabbitmq)
        self.scheduler = worker("nova-scheduler", seeded, nova, rabbitmq)
        self.usb_shim = [
            wsgi("usb-shim-api", usb_shim, rabbitmq, seeded),
            step(
                "usb-shim-conductor started",
                lambda: services.start_usb_shim_conductor(processes),
                *(usb_shim, rabbitmq, seeded),
            ),
        ]
