# SPDX-License-Identifier: Apache-2.0
"""What an installation needs, from Debian: MariaDB, RabbitMQ, memcached, Keystone and Nova's API."""

from __future__ import annotations

import re

from tests.deploy.machine import Machine

RABBIT_PASSWORD = "rabbit-S3cret"
ADMIN_PASSWORD = "admin-S3cret"
REGION = "RegionOne"
KEYSTONE = "http://controller:5000/v3"


def credentials(keystone: str, user: str, password: str) -> dict[str, str]:
    """The environment in which ``openstack`` acts as a user, in the project of the same name."""
    return {
        "OS_AUTH_URL": keystone,
        "OS_IDENTITY_API_VERSION": "3",
        "OS_USERNAME": user,
        "OS_PASSWORD": password,
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_NAME": user,
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_REGION_NAME": REGION,
    }


ADMIN = credentials(KEYSTONE, "admin", ADMIN_PASSWORD)
_PACKAGES = ("mariadb-server", "rabbitmq-server", "memcached", "keystone", "nova-api", "python3-pymysql")
_DATABASES = ("keystone", "nova", "nova_api", "nova_cell0")
_KEYSTONE = """\
[database]
connection = mysql+pymysql://openstack:database@localhost/keystone
[token]
provider = fernet
"""
_NOVA = f"""\
[DEFAULT]
transport_url = rabbit://openstack:{RABBIT_PASSWORD}@controller
log_dir = /var/log/nova
[api_database]
connection = mysql+pymysql://openstack:database@localhost/nova_api
[database]
connection = mysql+pymysql://openstack:database@localhost/nova
[keystone_authtoken]
www_authenticate_uri = {KEYSTONE}
auth_url = {KEYSTONE}
auth_type = password
username = nova
password = nova
user_domain_name = Default
project_name = service
project_domain_name = Default
service_token_roles_required = true
[placement]
auth_url = {KEYSTONE}
auth_type = password
username = nova
password = nova
user_domain_name = Default
project_name = service
project_domain_name = Default
region_name = {REGION}
"""


def install(machine: Machine) -> None:
    """Install, configure and start all of it on a machine ``controller``."""
    # Nothing starts before it is configured.
    policy = machine.root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    machine.install(*_PACKAGES)
    machine.run("systemctl", "start", "mariadb", "rabbitmq-server", "memcached")
    statements = [f"CREATE DATABASE {name} CHARACTER SET utf8mb3;" for name in _DATABASES]
    statements.append("CREATE USER openstack@localhost IDENTIFIED BY 'database';")
    statements.append("GRANT ALL PRIVILEGES ON *.* TO openstack@localhost;")
    machine.run("mysql", text="\n".join(statements))
    machine.run("rabbitmqctl", "add_user", "openstack", RABBIT_PASSWORD)
    machine.run("rabbitmqctl", "set_permissions", "openstack", ".*", ".*", ".*")
    _keystone(machine)
    _nova(machine)
    policy.unlink()


def _keystone(machine: Machine) -> None:
    (machine.root / "etc/keystone/keystone.conf").write_text(_KEYSTONE)
    as_user = ("setpriv", "--reuid=keystone", "--regid=keystone", "--init-groups", "keystone-manage")
    machine.run(*as_user, "db_sync")
    for keys in ("fernet_setup", "credential_setup"):
        machine.run(*as_user, keys, "--keystone-user=keystone", "--keystone-group=keystone")
    urls = [f"--bootstrap-{interface}-url={KEYSTONE}" for interface in ("admin", "internal", "public")]
    password = f"--bootstrap-password={ADMIN_PASSWORD}"
    machine.run(*as_user, "bootstrap", password, *urls, f"--bootstrap-region-id={REGION}")
    _one_worker(machine, "etc/keystone/keystone-uwsgi.ini")
    machine.run("systemctl", "start", "keystone")
    until = "until openstack token issue; do sleep 1; done"
    machine.run("timeout", "300", "sh", "-c", until, environment=ADMIN)
    for words in (
        ("project", "create", "--domain=default", "service"),
        ("role", "create", "--or-show", "service"),
        ("user", "create", "--domain=default", "--password=nova", "nova"),
        ("role", "add", "--project=service", "--user=nova", "admin"),
        ("service", "create", "--name=nova", "compute"),
        ("endpoint", "create", f"--region={REGION}", "compute", "public", "http://controller:8774/v2.1"),
        ("endpoint", "create", f"--region={REGION}", "compute", "internal", "http://controller:8774/v2.1"),
    ):
        machine.run("openstack", *words, environment=ADMIN)


def _nova(machine: Machine) -> None:
    (machine.root / "etc/nova/nova.conf").write_text(_NOVA)
    cell0 = "mysql+pymysql://openstack:database@localhost/nova_cell0"
    as_user = ("setpriv", "--reuid=nova", "--regid=nova", "--init-groups", "nova-manage")
    machine.run(*as_user, "api_db", "sync")
    machine.run(*as_user, "cell_v2", "map_cell0", "--database_connection", cell0)
    machine.run(*as_user, "db", "sync")
    machine.run(*as_user, "cell_v2", "create_cell", "--name=cell1")
    _one_worker(machine, "etc/nova/nova-api-uwsgi.ini")
    machine.run("systemctl", "disable", "nova-api-metadata")
    machine.run("systemctl", "start", "nova-api")


def _one_worker(machine: Machine, file: str) -> None:
    """Debian has eight or more, each of which loads everything at the start."""
    path = machine.root / file
    path.write_text(re.sub(r"^processes = .*", "processes = 1", path.read_text(), flags=re.MULTILINE))
