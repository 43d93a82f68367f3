# SPDX-License-Identifier: Apache-2.0
"""Somebody who runs the role in deploy/, with Debian's Ansible."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"


class Target(Protocol):
    """A machine that runs.

    :ivar name: in the inventory.
    :ivar root: a directory with its files.
    """

    name: str
    root: Path

    @property
    def enter(self) -> Sequence[str]:
        """What is put in front of a command to run it there."""


class Deployer:
    """Somebody who runs Ansible.

    :param directory: of the inventory.
    :param variables: of the role.
    :param groups: of the inventory, and the machines in each.
    :ivar said: what Ansible has said in all runs.
    """

    def __init__(
        self, directory: Path, variables: Mapping[str, Any], groups: Mapping[str, Sequence[Target]]
    ) -> None:
        self.said = ""
        self._directory = directory
        connection = {
            "ansible_connection": "community.general.chroot",
            "ansible_user": "root",
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        inventory = {
            "all": {
                "hosts": {
                    one.name: _connection(directory, one) for group in groups.values() for one in group
                },
                "vars": {**variables, **connection},
                "children": {
                    name: {"hosts": {one.name: {} for one in group}} for name, group in groups.items()
                },
            }
        }
        (directory / "inventory.yml").write_text(yaml.safe_dump(inventory))

    def run(self, *, status: int = 0, **variables: Any) -> dict[str, dict[str, int]]:
        """Run the playbook; for each host, how many tasks were ``ok``, ``changed``, ``failed``, ...

        :param variables: more of them.
        """
        done = subprocess.run(
            [
                "/usr/bin/ansible-playbook",
                "--diff",
                "--inventory=inventory.yml",
                f"--extra-vars={json.dumps(variables)}",
                DEPLOY / "site.yml",
            ],
            cwd=self._directory,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self._directory), "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said += done.stdout
        assert done.returncode == status, done.stdout
        recap = done.stdout.partition("PLAY RECAP")[2]
        return {
            host: {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", counts)}
            for host, counts in re.findall(r"^(\w+) +: (.*)$", recap, re.MULTILINE)
        }


def _connection(directory: Path, machine: Target) -> dict[str, str]:
    """The connection for a chroot enters a machine that runs, if it has this program in place of chroot."""
    enter = directory / f"enter-{machine.name}"
    enter.write_text(f'#!/bin/sh\nshift\nexec {" ".join(machine.enter)} "$@"\n')
    enter.chmod(0o700)
    return {"ansible_host": str(machine.root), "ansible_chroot_exe": str(enter)}
