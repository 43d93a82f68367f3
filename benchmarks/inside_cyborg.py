# SPDX-License-Identifier: Apache-2.0
"""Runs beside `benchmarks/scale --cyborg`, in a virtualenv with Cyborg: its API.

Usage: inside_cyborg.py DATABASE_URL API_PASTE_INI. The first line that it reads is JSON, the ids of the
devices by host; it prints how many these are. Each further line is a token and the path of a GET; it prints
the seconds that this took. Its log is off, in which it would write each device of a list.
"""

from __future__ import annotations

import json
import logging
import sys
import time

import webob
from cyborg import objects
from cyborg.api import app
from cyborg.common import config, constants
from cyborg.conf import CONF
from cyborg.db.sqlalchemy import api, models
from keystonemiddleware import fixture
from oslo_utils import timeutils

# In Cyborg's policy a tenant who may list devices is a manager of its project.
_ROLES = {"admin": ["admin", "manager", "member", "reader"], "demo": ["manager", "member", "reader"]}


def main() -> None:
    logging.getLogger("keystonemiddleware").setLevel(logging.ERROR)  # as in benchmarks/scale
    url, paste = sys.argv[1:]
    CONF.set_override("connection", url, group="database")
    CONF.set_override("api_paste_config", paste, group="api")
    config.parse_args(["cyborg-api"], default_config_files=[])
    objects.register_all()
    application = app.load_app()
    print(fill(json.loads(sys.stdin.readline())), flush=True)
    with fixture.AuthTokenFixture() as keystone:
        for name, roles in _ROLES.items():
            keystone.add_token_data(name, user_id=name, project_id=name, role_list=roles)
        for line in sys.stdin:
            print(get(application, *line.split()), flush=True)


def fill(hosts: dict[str, list[str]]) -> int:
    """Write the rows of the devices, without what hangs on a device and is not listed with it; how many."""
    engine = api.main_context_manager.writer.get_engine()
    models.Base.metadata.create_all(engine)
    now = timeutils.utcnow()
    rows = [
        {
            "uuid": device_id,
            "type": constants.DEVICE_GPU,
            "vendor": "0781",
            "model": "SanDisk Corp. Cruzer Blade",
            "std_board_info": '{"product_id": "5567", "controller": null}',
            "vendor_board_info": '{"vendor_info": "gpu_vb_info"}',
            "hostname": host,
            "device_state": constants.DEVICE_STATE_AVAILABLE,
            "created_at": now,
        }
        for host, device_ids in hosts.items()
        for device_id in device_ids
    ]
    with engine.begin() as connection:
        connection.execute(models.Device.__table__.insert(), rows)
    return len(rows)


def get(application: object, token: str, path: str) -> float:
    """Seconds for one GET.

    :raises RuntimeError: it is an error
    """
    headers = {"X-Auth-Token": token, "OpenStack-API-Version": "accelerator 2.3"}
    began = time.perf_counter()
    response = webob.Request.blank(path, headers=headers).get_response(application)
    seconds = time.perf_counter() - began
    if response.status_int != 200:
        raise RuntimeError(f"{path}: {response.status} {response.text}")
    return seconds


if __name__ == "__main__":
    main()
