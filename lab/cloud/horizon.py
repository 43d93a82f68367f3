# SPDX-License-Identifier: Apache-2.0
"""Horizon with this project's plugin, set up as an operator does it, but not inside the virtualenv.

Horizon takes its settings from the directory local/ in its own package. So each cloud has such a package:
links to what is in the real one, and a local/ of its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from pathlib import Path

from lab.cloud import config, services, site
from lab.cloud.process import Processes
from lab.cloud.site import VENV, Site, write_private
from lab.paths import CACHE, ROOT

_USERS = ("demo", "other", "admin")
_PLUGIN = ROOT / "usb_dashboard"
_PACKAGE = "openstack_dashboard"

# One process with threads: what is cached, the sessions among it, may stay in its memory.
_SETTINGS = """\
SECRET_KEY = {secret!r}
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
OPENSTACK_KEYSTONE_URL = {keystone!r}
CACHES = {{"default": {{"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}}}
STATIC_ROOT = {static!r}
COMPRESS_OFFLINE = True
SESSION_TIMEOUT = {login_seconds}
"""


def start(the_site: Site, processes: Processes) -> None:
    """Set it up, start it and wait until it answers.

    :raises LabError: it does not
    """
    static = CACHE / f"horizon-{_fingerprint()}"
    _install(the_site, static)
    _make_static(static, processes)
    services.start_wsgi("horizon", the_site, processes, "--static-map", f"/static={static}")


def how_to_log_in(the_site: Site) -> str:
    """The address and the user names and passwords, for the terminal."""
    port = the_site.ports["horizon"]
    taken = "" if port == site.HORIZON_PORT else f"    ({site.HORIZON_PORT} was taken)"
    users = [f"    user {user:<5}  password {the_site.passwords[user]}" for user in _USERS]
    return "\n".join([f"Horizon: http://localhost:{port}{taken}", *users])


def _install(the_site: Site, static: Path) -> None:
    package = config.HORIZON / _PACKAGE
    package.mkdir(parents=True)
    for entry in (_site_packages() / _PACKAGE).iterdir():
        if entry.name != "local":
            (package / entry.name).symlink_to(entry)
    local = package / "local"
    for name in ("enabled", "local_settings.d"):
        (local / name).mkdir(parents=True)
        for file in (_PLUGIN / name).glob("_[0-9]*.py"):
            (local / name / file.name).symlink_to(file)
    for python in (local, local / "enabled"):
        (python / "__init__.py").touch()
    settings = _SETTINGS.format(
        secret=the_site.passwords["horizon"],
        keystone=the_site.url("keystone", "/v3"),
        static=str(static),
        login_seconds=config.LOGIN_SECONDS,
    )
    write_private(local / "local_settings.py", settings)


def _make_static(static: Path, processes: Processes) -> None:
    """What browsers are served as files; made once for a Horizon and a plugin."""
    complete = static / "complete"
    environment = [f"PYTHONPATH={config.HORIZON}", f"DJANGO_SETTINGS_MODULE={_PACKAGE}.settings"]
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "horizon.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if complete.exists():
            return
        for old in CACHE.glob("horizon-*"):
            shutil.rmtree(old)
        for command in (("collectstatic", "--noinput"), ("compress", "--force")):
            processes.run(
                f"horizon-{command[0]}",
                # All other steps are needed to create a server.
                ["nice", "env", *environment, VENV / "bin/django-admin", *command],
            )
        complete.touch()


def _fingerprint() -> str:
    """Of what the files for browsers are made of: all that is installed, and what the plugin adds."""
    made_of = hashlib.sha256(str(_site_packages().stat().st_mtime_ns).encode())
    for directory in ("enabled", "static"):
        for file in sorted((_PLUGIN / directory).rglob("*.*")):
            if file.suffix != ".pyc":
                made_of.update(f"{file.name} {file.stat().st_size}\n".encode() + file.read_bytes())
    return made_of.hexdigest()[:16]


def _site_packages() -> Path:
    return next(VENV.glob("lib/python3.*/site-packages"))
