# SPDX-License-Identifier: Apache-2.0
"""What is in the wheel and in the source distribution, built from a checkout and from a source archive."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

_SOURCE = Path(__file__).parents[2]
_PACKAGED = ("compute_shim", "etc", "novaclient_usb", "usb_dashboard")
# Made from git's history.
_OF_GIT = {"AUTHORS", "ChangeLog", "pbr.json"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The files of this source tree that are no products of it, relative to it, be it a checkout or not."""
    repository = tmp_path_factory.mktemp("empty.git")
    subprocess.run(["git", "init", "--quiet", "--bare", repository], check=True)
    command = ["git", f"--git-dir={repository}", f"--work-tree={_SOURCE}", "ls-files", "-z"]
    listed = subprocess.run(
        [*command, "--others", "--exclude-standard"], cwd=_SOURCE, check=True, stdout=subprocess.PIPE
    )
    # A virtualenv that is a link is no directory, which is what .gitignore leaves out.
    return [name for name in listed.stdout.decode().split("\0") if (_SOURCE / name).is_file()]


def copy(names: Iterable[str], target: Path) -> Path:
    """The source without git, as an archive of it has it."""
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_SOURCE / name, target / name)
    return target


def build(hook: str, source: Path, target: Path) -> Path:
    """Call a hook of the build backend (PEP 517), as pip does, with what is installed here."""
    target.mkdir()
    subprocess.run(
        [sys.executable, "-c", f"import sys, pbr.build; pbr.build.{hook}(sys.argv[1])", target],
        cwd=source,
        # git must not find the repository that the directory may be in.
        env=os.environ | {"PBR_VERSION": "1.2.3", "GIT_CEILING_DIRECTORIES": str(source.parent)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return next(target.iterdir())


def wheel(source: Path, target: Path) -> set[str]:
    """The names of the files in the wheel."""
    with zipfile.ZipFile(build("build_wheel", source, target)) as archive:
        return without_git(archive.namelist())


def sdist(source: Path, target: Path) -> set[str]:
    """The names of the files in the source distribution, without its own directory."""
    with tarfile.open(build("build_sdist", source, target)) as archive:
        return without_git(member.name.partition("/")[2] for member in archive if member.isfile())


def without_git(names: Iterable[str]) -> set[str]:
    return {name for name in names if Path(name).name not in _OF_GIT}


@pytest.fixture(scope="module")
def archive(sources: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source archive, unpacked."""
    return copy(sources, tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def checkout(sources: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with all of it committed."""
    directory = copy(sources, tmp_path_factory.mktemp("checkout"))
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "--quiet"], ["add", "--all"], [*author, "commit", "--quiet", "--message=all"]):
        subprocess.run(["git", *command], cwd=directory, check=True)
    return directory


def test_a_wheel_from_an_archive_has_all_files_to_install(
    sources: list[str], archive: Path, tmp_path: Path
) -> None:
    own = "openstack_usb_passthrough-1.2.3"
    names = {name.removeprefix(f"{own}.data/data/") for name in wheel(archive, tmp_path / "wheel")}
    packaged = {name for name in names if not name.startswith(own)}
    assert packaged == {name for name in sources if name.partition("/")[0] in _PACKAGED}


def test_a_wheel_from_a_checkout_is_the_same(archive: Path, checkout: Path, tmp_path: Path) -> None:
    assert wheel(checkout, tmp_path / "checkout") == wheel(archive, tmp_path / "archive")


def test_a_source_distribution_from_an_archive_has_all_files(
    sources: list[str], archive: Path, tmp_path: Path
) -> None:
    missing = set(sources) - sdist(archive, tmp_path / "sdist")
    assert missing == {".gitignore"}  # pbr leaves it out


def test_a_source_distribution_from_a_checkout_is_the_same(
    archive: Path, checkout: Path, tmp_path: Path
) -> None:
    assert sdist(checkout, tmp_path / "checkout") == sdist(archive, tmp_path / "archive")
