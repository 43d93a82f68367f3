# SPDX-License-Identifier: Apache-2.0
"""Somebody who follows the installation guide."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tests.deploy import blocks, guide
from tests.deploy.guide import COMPUTE, CONTROLLER, Step
from tests.deploy.place import Place

BLOCKS = blocks.read(guide.PAGE)
_ENABLE = """\
systemctl enable --now usb-shim-conductor usb-shim-api
curl http://127.0.0.1:9815/healthcheck/deep
"""
_ENABLE_AGENT = """\
systemctl enable --now usb-shim-agent
systemctl is-active usb-shim-agent
"""
_TEXTS = dict(zip(guide.STEPS, (block.text for block in BLOCKS), strict=True))


class Reader:
    """Follows the guide on two machines, in one shell on each.

    :param environment: of these shells; the credentials of the cloud's administrator are in it.
    :param own: words for which the reader puts others everywhere -> what is put there.
    """

    def __init__(
        self,
        controller: Place,
        compute: Place,
        environment: Mapping[str, str],
        own: Mapping[str, str] | None = None,
    ) -> None:
        self._machines = {CONTROLLER: controller, COMPUTE: compute}
        self._environment = environment
        self._own = own or {}
        self._directory = dict.fromkeys(self._machines, "/root")

    def follow(self, step: Step, text: str | None = None) -> None:
        """Do with a block what the step says.

        :param text: of the block, if it is not the guide's of that step.
        """
        text = _TEXTS[step] if text is None else text
        for word, own in {**step.own, **self._own}.items():
            text = text.replace(word, own)
        for name in filter(None, (step.on, step.also_on)):
            if step.before:
                self._shell(name, step.before)
            if step.file:
                # As an editor, which keeps owner and mode.
                self._machines[name].run("tee", step.file, text=text)
            elif step.program:
                self._machines[name].run(step.program, text=text)
            else:
                assert step.says in self._shell(name, text, step.status)

    def _shell(self, name: str, text: str, status: int = 0) -> str:
        machine = self._machines[name]
        script = f"cd {self._directory[name]}\ntrap 'pwd >/run/here' EXIT\n{text}"
        done = machine.try_run("bash", "-e", "-c", script, environment=self._environment)
        assert done.returncode == status, f"{name}:\n{text}\n{done.stdout}"
        self._directory[name] = machine.run("cat", "/run/here").strip()
        return done.stdout

    def continue_with_packages(self, before_agent: str = "") -> None:
        """Continue as above, as the guide says of the packages.

        :param before_agent: commands that are run before the agent is started.
        """
        for step in (guide.DATABASE, guide.IDENTITY, guide.FILE, guide.CONFIGURATION, guide.TABLES):
            self.follow(step)
        self.follow(Step("", says="OK"), _ENABLE)
        self.follow(dataclasses.replace(guide.FILE, on=COMPUTE), _TEXTS[guide.FILE])
        self.follow(guide.COMPUTE_CONFIGURATION)
        self.follow(Step("", COMPUTE, before=before_agent), _ENABLE_AGENT)
