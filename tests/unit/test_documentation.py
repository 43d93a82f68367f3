# SPDX-License-Identifier: Apache-2.0
"""The sources of the documentation fit together. ``make docs`` checks references; this needs no Sphinx."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from compute_shim import conf
from compute_shim.cmd import manage
from novaclient_usb import shell
from novaclient_usb.reason_codes import ReasonCode

_ROOT = Path(__file__).parents[2]
_SOURCE = _ROOT / "doc/source"
_IMAGES = _SOURCE / "images"
_PAGES = sorted(_SOURCE.rglob("*.rst"))
_TOCTREE = re.compile(r"^( *)\.\. toctree::\n((?:\1 +.*\n|\n)*)", re.MULTILINE)
_IMAGE = re.compile(r"^ *\.\. (?:figure|image):: (\S+)$", re.MULTILINE)
# Files that name a page of the documentation, or a file in doc/.
_NAMING = ("*.py", "*.rst", "*.service", "*.yaml", "*.cfg", "Makefile")
_TREES = (
    "benchmarks",
    "compute_shim",
    "deploy",
    "doc",
    "etc",
    "lab",
    "novaclient_usb",
    "releasenotes",
    "tests",
    "usb_dashboard",
)


def _entries(page: Path) -> Iterator[str]:
    """The pages in its toctrees, relative to the documentation."""
    for _, block in _TOCTREE.findall(page.read_text() + "\n"):
        for line in map(str.strip, block.splitlines()):
            if line and not line.startswith(":"):
                name = line.rpartition("<")[2].rstrip(">")
                parent = _SOURCE if name.startswith("/") else page.parent
                yield str((parent / name.lstrip("/")).resolve().relative_to(_SOURCE))


def _named_images(page: Path) -> set[Path]:
    """Sphinx takes a leading slash for the root of the documentation."""
    return {
        (_SOURCE / name.lstrip("/") if name.startswith("/") else page.parent / name).resolve()
        for name in _IMAGE.findall(page.read_text())
    }


def test_every_page_is_in_one_toctree() -> None:
    listed = [entry for page in _PAGES for entry in _entries(page)]
    pages = {str(page.relative_to(_SOURCE).with_suffix("")) for page in _PAGES}
    assert set(listed) == pages - {"index"}
    assert sorted(listed) == sorted(set(listed))


def test_every_image_is_shown_and_there() -> None:
    named = set().union(*(_named_images(page) for page in [*_PAGES, _ROOT / "README.rst"]))
    assert named == set(_IMAGES.iterdir())


def _naming() -> list[Path]:
    trees = [path for tree in _TREES for kind in _NAMING for path in (_ROOT / tree).rglob(kind)]
    ignored = ("doc/build", "doc/source/_static", "lab/cache", "lab/run")
    return [
        *(_ROOT / name for name in ("CONTRIBUTING.rst", "Makefile", "README.rst", "setup.cfg")),
        *(path for path in trees if not any(path.is_relative_to(_ROOT / name) for name in ignored)),
    ]


def test_files_that_are_named_are_there() -> None:
    missing = [
        f"{path.relative_to(_ROOT)}: {name}"
        for path in _naming()
        for name in re.findall(r"(?<![\w/.:-])doc/[\w/.-]*\.(?:rst|yaml|txt|png|py)\b", path.read_text())
        if not (_ROOT / name).is_file()
    ]
    assert missing == []


def _section(title: str) -> set[str]:
    """The codes in a section's table of doc/source/reference/reason-codes.rst."""
    text = (_SOURCE / "reference/reason-codes.rst").read_text()
    _, _, rest = text.partition(f"\n{title}\n====")
    body = re.split(r"\n\S.*\n={3,}\n", rest)[0]
    return set(re.findall(r"^``(\w+)``", body, re.MULTILINE))


@pytest.mark.parametrize("title", ["States", "Errors of requests"])
def test_every_code_has_a_remedy(title: str) -> None:
    codes = _section(title)
    assert len(codes) > 30
    assert codes <= set(_remedies())


def test_remedies_are_of_codes() -> None:
    assert sorted(_remedies()) == sorted(set(_remedies()))
    assert set(_remedies()) <= {code.value for code in ReasonCode}


def _remedies() -> list[str]:
    text = (_SOURCE / "admin/troubleshooting.rst").read_text()
    return re.findall(r"^\.\. reason-code:: (\w+)\n\n   \S", text, re.MULTILINE)


def _texts() -> Iterator[tuple[str, str]]:
    """The pages with their names; what is in one line there may be in two here."""
    for page in [*_PAGES, _ROOT / "README.rst"]:
        yield str(page.relative_to(_ROOT)), " ".join(page.read_text().split())


def _commands() -> set[str]:
    """The ``openstack`` commands of setup.cfg."""
    names = re.findall(
        r"^    (\w+) = novaclient_usb\.osc\.\w+:", (_ROOT / "setup.cfg").read_text(), re.MULTILINE
    )
    return {name.replace("_", " ") for name in names}


def test_openstack_commands_that_are_named_exist() -> None:
    commands = _commands()
    assert "usb device list" in commands
    named = [
        (page, match)
        for page, text in _texts()
        for match in re.findall(r"\bopenstack ((?:usb|server (?:add|remove) usb|server usb) [a-z ]+)", text)
    ]
    assert len(named) > 30
    assert [
        (page, name)
        for page, name in named
        if not any(f"{name} ".startswith(f"{known} ") for known in commands)
    ] == []


def test_nova_commands_that_are_named_exist() -> None:
    named = [(page, name) for page, text in _texts() for name in re.findall(r"\bnova (usb-[a-z-]+)", text)]
    assert len(named) > 5
    known = {name.removeprefix("do_").replace("_", "-") for name in vars(shell) if name.startswith("do_usb")}
    assert [(page, name) for page, name in named if name not in known] == []


def test_options_that_are_named_exist() -> None:
    own = {str(group): {option.name for option in options} for group, options in conf.list_opts()}
    named = [
        (page, group, name)
        for page, text in _texts()
        for group, name in re.findall(r"``\[(\w+)\] (\w+)", text)
        if group in own and group not in ("keystone_authtoken", "nova")
    ]
    assert len(named) > 20
    assert [(page, group, name) for page, group, name in named if name not in own[group]] == []


def _leaves(parser: argparse.ArgumentParser, *words: str) -> Iterator[str]:
    """The commands of a parser, each with all its words."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield " ".join(words)
    for action in below:
        for name, subparser in action.choices.items():
            yield from _leaves(subparser, *words, name)


def test_the_manual_page_of_usb_shim_manage_has_its_commands() -> None:
    parser = argparse.ArgumentParser()
    manage._add_commands(parser.add_subparsers())
    page = (_SOURCE / "reference/usb-shim-manage.rst").read_text()
    terms = re.findall(r"^([a-z-]+(?: [a-z-]+)?)[^:\n]*\n    \S", page, re.MULTILINE)
    assert sorted(terms) == sorted(_leaves(parser))
