# SPDX-License-Identifier: Apache-2.0
"""Runs beside `benchmarks/scale`: Nova's own sign of life. Usage: inside_service_save.py DATABASE_URL.

For each number that it reads it saves the `nova.objects.Service` of a nova-compute so often, as
nova-conductor does for ``_report_state`` (nova/servicegroup/drivers/db.py), and prints the seconds of
processor time.
"""

from __future__ import annotations

import os
import sys
import time

os.environ["OS_NOVA_DISABLE_EVENTLET_PATCHING"] = "1"

from nova import conf, config, context, objects
from nova.db.main import api, models


def main() -> None:
    service = created(sys.argv[1])
    for line in sys.stdin:
        began = time.process_time()
        for _ in range(int(line)):
            service.report_count += 1
            service.save()
        print(time.process_time() - began, flush=True)


def created(url: str) -> objects.Service:
    """A new service, in an empty database."""
    conf.CONF.set_override("connection", url, group="database")
    config.parse_args(["nova-conductor"], default_config_files=[])
    models.BASE.metadata.create_all(api.get_engine())
    objects.register_all()
    service = objects.Service(context.get_admin_context())
    service.host, service.binary, service.topic, service.report_count = (
        "compute1",
        "nova-compute",
        "compute",
        0,
    )
    service.create()
    return service


if __name__ == "__main__":
    main()
