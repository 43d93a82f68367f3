# SPDX-License-Identifier: Apache-2.0
"""The configuration files of all services, under lab/run/etc."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from lab.cloud.site import (
    COMPUTE_HOST,
    ETC,
    GATEWAY,
    LOG,
    SECOND_HOST,
    STATE,
    VENV,
    Site,
    share,
    write_private,
)
from lab.host import Host
from lab.host.usb import EVERYTHING
from lab.paths import RUN

Sections = dict[str, dict[str, object]]

REGION = "RegionOne"

KEYSTONE = ETC / "keystone/keystone.conf"
PLACEMENT = ETC / "placement/placement.conf"
GLANCE = ETC / "glance/glance-api.conf"
NEUTRON = ETC / "neutron/neutron.conf"
NOVA = ETC / "nova/nova.conf"
NOVA_API = ETC / "nova/nova-api.conf"
USB_SHIM = ETC / "usb-shim/usb-shim.conf"
RABBITMQ = ETC / "rabbitmq/rabbitmq.conf"
HORIZON = ETC / "horizon"
"""In front of Horizon's PYTHONPATH."""

FERNET_KEYS = STATE / "keystone/fernet-keys"
CREDENTIAL_KEYS = STATE / "keystone/credential-keys"
#: A login lasts for so many seconds. The defaults are an hour, and all tests may take longer.
LOGIN_SECONDS = 4 * 3600
# In a compute host's own file system, which is gone when it stops.
COMPUTE_STATE = Path("/var/lib/nova")


def write_all(site: Site) -> None:
    """Write every file. They hold passwords: only their owner may read them."""
    files: dict[Path, Sections] = {
        KEYSTONE: _keystone(site),
        PLACEMENT: _placement(site),
        GLANCE: _glance(site),
        NEUTRON: _neutron(site),
        NOVA: _nova(site),
        NOVA_API: {"DEFAULT": {"log_file": LOG / "nova-api.log"}},
        USB_SHIM: _usb_shim(site),
    }
    for host in (COMPUTE_HOST, SECOND_HOST):
        files[nova_compute(host)] = _nova_compute(site, host)
        files[usb_shim_agent(host)] = _usb_shim_agent(site, host)
    for path, sections in files.items():
        write_private(path, _ini(sections))
    write_private(RABBITMQ, _rabbitmq(site))
    for source, copy in (
        ("glance/glance-api-paste.ini", GLANCE.with_name("glance-api-paste.ini")),
        ("neutron/api-paste.ini", NEUTRON.with_name("api-paste.ini")),
        ("nova/api-paste.ini", NOVA.with_name("api-paste.ini")),
    ):
        shutil.copy(VENV / "etc" / source, copy)
    for user, project in (("admin", "admin"), ("demo", "demo"), ("other", "other")):
        write_private(openrc(user), _openrc(site, user, project))


def nova_compute(host: str) -> Path:
    """Of nova-compute on a host."""
    return ETC / f"nova/nova-compute-{host}.conf"


def usb_shim_agent(host: str) -> Path:
    """Of our agent on a host."""
    return ETC / f"usb-shim/usb-shim-agent-{host}.conf"


def openrc(user: str) -> Path:
    """The file to be sourced to act as a user of the cloud."""
    return RUN / f"openrc-{user}"


def _ini(sections: Mapping[str, Mapping[str, object]]) -> str:
    lines = []
    for section, options in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {value}" for name, value in options.items()]
    return "\n".join(lines) + "\n"


def _openrc(site: Site, user: str, project: str) -> str:
    return f"""\
export OS_AUTH_URL={site.url("keystone", "/v3")} OS_IDENTITY_API_VERSION=3 OS_REGION_NAME={REGION}
export OS_USERNAME={user} OS_PASSWORD={site.passwords[user]} OS_USER_DOMAIN_ID=default
export OS_PROJECT_NAME={project} OS_PROJECT_DOMAIN_ID=default
case ":$PATH:" in *:{VENV}/bin:*) ;; *) export PATH={VENV}/bin:$PATH ;; esac
"""


def _rabbitmq(site: Site) -> str:
    return f"""\
listeners.tcp.default = 127.0.0.1:{site.ports["rabbitmq"]}
default_user = openstack
default_pass = {site.passwords["rabbitmq"]}
log.file.level = warning
"""


def _user(site: Site, user: str, address: str = "127.0.0.1") -> dict[str, object]:
    """How a service authenticates as its own user (keystoneauth's options)."""
    return {
        "auth_type": "password",
        "auth_url": site.url("keystone", "/v3", address),
        "project_domain_id": "default",
        "user_domain_id": "default",
        "project_name": "service",
        "username": user,
        "password": site.passwords[user],
        "region_name": REGION,
    }


def _authtoken(site: Site, user: str) -> dict[str, object]:
    return {
        "www_authenticate_uri": site.url("keystone", "/v3"),
        "service_token_roles_required": True,
        **_user(site, user),
    }


def _keystone(site: Site) -> Sections:
    return {
        "DEFAULT": {"log_file": LOG / "keystone.log"},
        "database": {"connection": site.database_url("keystone")},
        # The cheapest that bcrypt does: every start hashes a dozen passwords, which are long and random.
        "identity": {"password_hash_rounds": 4},
        # There is one process; without a cache it puts together anew what a token is good for, each time.
        "cache": {"backend": "dogpile.cache.memory"},
        "token": {"expiration": LOGIN_SECONDS},
        "fernet_tokens": {"key_repository": FERNET_KEYS},
        "credential": {"key_repository": CREDENTIAL_KEYS},
        "oslo_concurrency": {"lock_path": STATE / "lock"},
    }


def _placement(site: Site) -> Sections:
    return {
        "DEFAULT": {"log_file": LOG / "placement.log"},
        "api": {"auth_strategy": "keystone"},
        "placement_database": {"connection": site.database_url("placement")},
        "keystone_authtoken": _authtoken(site, "placement"),
    }


def _glance(site: Site) -> Sections:
    return {
        "DEFAULT": {
            "log_file": LOG / "glance.log",
            "enabled_backends": "fs:file",
            "worker_self_reference_url": site.url("glance"),
        },
        "glance_store": {"default_backend": "fs"},
        "fs": {"filesystem_store_datadir": STATE / "glance/images"},
        "os_glance_tasks_store": {"filesystem_store_datadir": STATE / "glance/tasks"},
        "os_glance_staging_store": {"filesystem_store_datadir": STATE / "glance/staging"},
        "database": {"connection": site.database_url("glance")},
        "paste_deploy": {"flavor": "keystone"},
        "oslo_concurrency": {"lock_path": STATE / "lock"},
        "keystone_authtoken": _authtoken(site, "glance"),
    }


def _neutron(site: Site) -> Sections:
    return {
        "DEFAULT": {
            "log_file": LOG / "neutron.log",
            "core_plugin": "ml2",
            "service_plugins": "",
            "transport_url": site.transport_url(),
            "state_path": STATE / "neutron",
            "notify_nova_on_port_status_changes": False,
            "notify_nova_on_port_data_changes": False,
            "api_paste_config": NEUTRON.with_name("api-paste.ini"),
        },
        "database": {"connection": site.database_url("neutron")},
        "oslo_concurrency": {"lock_path": STATE / "lock"},
        "keystone_authtoken": _authtoken(site, "neutron"),
        # The servers have no networks: nothing but the API is wanted.
        "ml2": {"type_drivers": "local", "tenant_network_types": "local", "mechanism_drivers": ""},
    }


def _nova_common(site: Site, address: str) -> Sections:
    return {
        "DEFAULT": {
            "transport_url": site.transport_url(address),
            # On SIGTERM they wait three minutes otherwise.
            "manager_shutdown_timeout": 2,
            "graceful_shutdown_timeout": 3,
        },
        "notifications": {
            "notification_format": "versioned",
            "notify_on_state_change": "vm_and_task_state",
        },
        "oslo_messaging_notifications": {"driver": "messagingv2"},
        "oslo_messaging_rabbit": {"rabbit_quorum_queue": False},
        "vnc": {"enabled": False},
        "cinder": {"auth_type": "none"},
        "service_user": {"send_service_user_token": True, **_user(site, "nova", address)},
        "placement": _user(site, "placement", address),
        "neutron": _user(site, "neutron", address),
        "glance": {"region_name": REGION},
    }


def _nova(site: Site) -> Sections:
    sections = _nova_common(site, "127.0.0.1")
    sections["DEFAULT"] |= {"log_dir": LOG, "state_path": STATE / "nova", "my_ip": "127.0.0.1"}
    return sections | {
        "api_database": {"connection": site.database_url("nova_api")},
        "database": {"connection": site.database_url("nova_cell1")},
        "conductor": {"workers": 1},
        "scheduler": {"workers": 1, "discover_hosts_in_cells_interval": -1},
        "oslo_concurrency": {"lock_path": STATE / "lock"},
        "keystone_authtoken": _authtoken(site, "nova"),
    }


def _nova_compute(site: Site, host: str) -> Sections:
    """For nova-compute in the lab host, where the addresses of the service catalog lead nowhere."""
    sections = _nova_common(site, GATEWAY)
    sections["DEFAULT"] |= {
        "host": host,
        "my_ip": Host(host).address,
        "log_file": share(host) / "nova-compute.log",
        "state_path": COMPUTE_STATE,
        "instances_path": COMPUTE_STATE / "instances",
        "compute_driver": "libvirt.LibvirtDriver",
        "force_raw_images": False,
        "running_deleted_instance_poll_interval": 0,
        # Every minute by default. It costs an emulated processor a second, and changes nothing here.
        "update_resources_interval": 600,
        "reserved_host_disk_mb": 0,
        "reserved_host_memory_mb": 0,
        # A guest's disk of 1 GB has 1 MB in it, and its processor is idle.
        "initial_disk_allocation_ratio": 16.0,
        "initial_cpu_allocation_ratio": 16.0,
        "shutdown_timeout": 15,
    }
    for section, service in (("placement", "placement"), ("neutron", "neutron"), ("glance", "glance")):
        sections[section]["endpoint_override"] = site.url(service, address=GATEWAY)
    return sections | {
        "libvirt": {
            "virt_type": "kvm",
            "connection_uri": "qemu:///system",
            "cpu_mode": "none",
            "images_type": "qcow2",
            # No memory balloon: each device more is one more for the guest to find.
            "mem_stats_period_seconds": 0,
            "live_migration_scheme": "tcp",
            # An emulated guest may write faster than its host can send: let it stand still for the rest.
            "live_migration_downtime": 10000,
            "live_migration_downtime_steps": 3,
            "live_migration_downtime_delay": 3,
        },
        # Nova compares the processor of the other host with what a guest can have here, which is less: no
        # SVM. The hosts are the same.
        "workarounds": {"skip_cpu_compare_on_dest": True},
        "oslo_concurrency": {"lock_path": COMPUTE_STATE / "lock"},
    }


def _usb_shim(site: Site) -> Sections:
    return {
        "DEFAULT": {"transport_url": site.transport_url()},
        "database": {"connection": site.database_url("usb_shim")},
        # All services share two processors with emulators: Keystone may not answer within two seconds.
        "api": {"request_timeout": 60},
        # Tests make tokens invalid, and look what comes of it at once.
        "keystone_authtoken": {**_authtoken(site, "usb-shim"), "token_cache_time": -1},
        "nova": _user(site, "usb-shim"),
        "placement": {"enabled": True, **_user(site, "usb-shim")},
        # Nobody should have to wait for it in a lab.
        "conductor": {"deleted_server_interval": 5, "host_down_time": 30},
    }


def _usb_shim_agent(site: Site, host: str) -> Sections:
    return {
        "DEFAULT": {
            "host": host,
            "transport_url": site.transport_url(GATEWAY),
            "log_file": share(host) / "usb-shim-agent.log",
        },
        "agent": {"sync_interval": 10},
        "usb": {"device_spec": EVERYTHING},
    }
