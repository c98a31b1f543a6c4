"""The images of contrib/docker, built once: they need root, mmdebstrap and a wheel of Lockgate."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from machine.roots import CACHE

from images import build

REPOSITORY = Path(__file__).parents[3]
FILES = REPOSITORY / "contrib" / "docker"


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A copy of contrib/docker with wheels/ as its README says, also those of PyPI."""
    found = sorted(
        (REPOSITORY / os.environ.get("WHEELHOUSE", "dist")).glob("lockgate-*-cp313-*x86_64.whl")
    )
    if not found:
        pytest.fail("no wheel for CPython 3.13 and x86_64: make wheels, or WHEELHOUSE=DIRECTORY")
    directory = tmp_path_factory.mktemp("files") / "docker"
    shutil.copytree(FILES, directory)
    shutil.copy(found[0], directory / "wheels")
    cache = CACHE.parent / "wheels" / "images"
    cache.mkdir(parents=True, exist_ok=True)
    names = (FILES / "requirements.txt").read_text().split()
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
    command += ["--python-version=3.13", "--implementation=cp", f"--dest={cache}"]
    command += ["--platform=manylinux_2_28_x86_64", "--platform=manylinux2014_x86_64"]
    subprocess.run([*command, *(name for name in names if name != "lockgate")], check=True)
    for wheel in cache.glob("*.whl"):
        shutil.copy(wheel, directory / "wheels")
    return directory


@pytest.fixture(scope="session")
def how(files, tmp_path_factory):
    layers = tmp_path_factory.mktemp("layers")
    return build.Build(files, layers, environment={"PIP_NO_INDEX": "1"})


@pytest.fixture(scope="session", params=["Dockerfile", "distroless.Dockerfile"])
def image(request, how, tmp_path_factory):
    own = dataclasses.replace(how, layers=tmp_path_factory.mktemp("layers"))
    return build.build(how.context / request.param, own)
