# SPDX-License-Identifier: Apache-2.0
"""How the literal blocks of the installation guide are followed, on machines without a past.

Each block is here by its first line, in the order of the guide. ``tests/unit/test_guide.py`` compares them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from tests.deploy import cloud

PAGE = Path(__file__).parents[2] / "doc/source/install/guide.rst"

CONTROLLER, COMPUTE = "controller", "compute1"
REPOSITORY = "/srv/usb-passthrough.git"

# The agent refuses a container, which is not the whole host. What it does with devices is tested in the lab.
_BLIND = r"""
install -d /etc/systemd/system/usb-shim-agent.service.d
cat >/etc/systemd/system/usb-shim-agent.service.d/blind.conf <<'END'
[Service]
ExecStart=
ExecStart={prefix}/bin/python -c \
  'from compute_shim.cmd import agent; agent.host_view.refuse_blind = lambda: None; agent.main()'
END
"""
BLIND_VIRTUALENV = _BLIND.format(prefix="/opt/usb-shim")
BLIND_PACKAGE = _BLIND.format(prefix="/usr/lib/usb-shim")
_CERTIFICATE = """\
install -d /etc/haproxy
openssl req -x509 -nodes -newkey rsa:2048 -subj /CN=127.0.0.2 -addext subjectAltName=IP:127.0.0.2 \\
  -keyout /tmp/key -out /tmp/certificate
cat /tmp/certificate /tmp/key >/etc/haproxy/usb-shim.pem
"""
_WEB_SERVERS_REMOVED = """\
a2dissite usb-shim
systemctl restart apache2
sed -i '/usb-passthrough$/,$d' /etc/haproxy/haproxy.cfg
systemctl restart haproxy
"""


@dataclasses.dataclass(frozen=True)
class Step:
    """What is done with a block.

    :ivar first_line: of the block.
    :ivar on: the machine on which it is run.
    :ivar also_on: another one.
    :ivar own: words for which readers put their own -> what is put there.
    :ivar file: the block is the content of this file.
    :ivar program: the block is the standard input of this program. By default bash runs it.
    :ivar before: commands that stand for what the guide says in words, or for what a container lacks.
    :ivar status: the exit status.
    :ivar says: is in its output.
    :ivar not_run: why it cannot be run here.
    """

    first_line: str
    on: str = CONTROLLER
    also_on: str = ""
    own: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)
    file: str = ""
    program: str = ""
    before: str = ""
    status: int = 0
    says: str = ""
    not_run: str = ""


RABBIT = {"RABBIT_PASSWORD": cloud.RABBIT_PASSWORD}

DATABASE = Step("CREATE DATABASE usb_shim CHARACTER SET utf8mb4;", program="mysql")
IDENTITY = Step("openstack user create --domain default --password PASSWORD usb-shim")
FILE = Step("install -m 640 -g usb-shim /dev/null /etc/usb-shim/usb-shim.conf")
CONFIGURATION = Step("[DEFAULT]", own=RABBIT, file="/etc/usb-shim/usb-shim.conf")
# Warnings: neither conductor nor agent runs yet.
TABLES = Step("usb-shim-manage db sync", status=1, says="Database")
# The agent reports within seconds. A warning: Nova has no compute service here.
CHECK = Step(
    "usb-shim-status upgrade check",
    before="timeout 120 sh -c 'until usb-shim-status upgrade check | grep nova-compute; do sleep 1; done'\n",
    status=1,
    says="nova-compute",
)
COMPUTE_CONFIGURATION = Step(
    "[DEFAULT]",
    COMPUTE,
    own={**RABBIT, "the name that nova-compute uses on this host": COMPUTE},
    file="/etc/usb-shim/usb-shim.conf",
)
CONTROLLER_PACKAGES = Step(
    "apt-get install -y ./usb-shim-common_*.deb ./usb-shim-api_*.deb ./usb-shim-conductor_*.deb"
)
COMPUTE_PACKAGES = Step("apt-get install -y ./usb-shim-common_*.deb ./usb-shim-agent_*.deb", COMPUTE)
USER_PACKAGES = Step("apt-get install -y ./usb-shim-client_*.deb")
# Of what is in Keystone and in the database.
REMOVAL = Step("openstack service delete usb-shim       # its endpoints, too")

STEPS = (
    Step("apt-get install -y git python3-pip", own={"REPOSITORY": REPOSITORY}),
    Step("apt-get install -y curl python3-venv python3-dev gcc"),
    Step("install -D -m 644 /opt/usb-shim/etc/sysusers.d/usb-shim.conf /etc/sysusers.d/usb-shim.conf"),
    DATABASE,
    IDENTITY,
    FILE,
    CONFIGURATION,
    Step("cd /opt/usb-shim"),
    TABLES,
    Step("install -m 644 /opt/usb-shim/etc/usb-shim/uwsgi.ini /etc/usb-shim/", says="OK"),
    Step("/opt/usb-shim/bin/pip install gunicorn"),
    Step("[Service]", file="/etc/systemd/system/usb-shim-api.service.d/gunicorn.conf"),
    Step("systemctl daemon-reload", says="OK"),
    Step("apt-get install -y apache2 libapache2-mod-wsgi-py3", says="OK"),
    Step(
        "apt-get install -y haproxy",
        before=_CERTIFICATE + "sed -i s/192.0.2.1/127.0.0.2/ /opt/usb-shim/etc/haproxy/usb-shim.cfg\n",
    ),
    Step("[DEFAULT]", not_run="test_role.py sets these options, as the page has them"),
    Step("apt-get install -y python3-venv python3-libvirt", COMPUTE),
    Step(
        "install -D -m 644 /opt/usb-shim/etc/sysusers.d/usb-shim.conf /etc/sysusers.d/usb-shim.conf", COMPUTE
    ),
    COMPUTE_CONFIGURATION,
    Step(
        "hook=$(/opt/usb-shim/bin/python -c 'import compute_shim.hypervisor.libvirt.hook as hook;"
        " print(hook.__file__)')",
        COMPUTE,
    ),
    Step(
        "install -m 644 /opt/usb-shim/etc/systemd/system/usb-shim-agent.service /etc/systemd/system/",
        COMPUTE,
        before=BLIND_VIRTUALENV,
    ),
    CHECK,
    Step("install -m 644 /opt/usb-shim/etc/logrotate.d/usb-shim /etc/logrotate.d/"),
    Step(
        "openstack image set --property hw_usb_model=qemu-xhci --property hw_input_bus=virtio IMAGE",
        not_run="there is no Glance; lab/cloud sets these properties",
    ),
    Step("apt-get install -y python3-venv"),
    Step(
        "plugin=$(python -c 'import usb_dashboard; print(*usb_dashboard.__path__)')",
        not_run="there is no Horizon; lab/cloud/horizon.py links these files",
    ),
    Step("systemctl disable --now usb-shim-agent", COMPUTE),
    Step("systemctl disable --now usb-shim-api usb-shim-conductor", before=_WEB_SERVERS_REMOVED),
    REMOVAL,
    Step(
        "rm -rf /opt/usb-shim /opt/usb-shim-client /etc/usb-shim /etc/usb-shim-relay /var/log/usb-shim",
        also_on=COMPUTE,
    ),
    CONTROLLER_PACKAGES,
    COMPUTE_PACKAGES,
    USER_PACKAGES,
    Step("apt-get install -y ansible", not_run="test_role.py runs the role, and reads the inventory"),
)
