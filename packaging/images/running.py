"""Containers of an image: what `docker run`, `docker stop` and the daemon's health checks do."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from machine.container import Container, Options

from .bases import Healthcheck, Image
from .build import user


def container(
    image: Image, options: Options, output: Path, command: Sequence[str] = ()
) -> Container:
    """A container that has not started; `command` replaces CMD.

    Of `options`, the environment is added to the image's; the working directory and the user are
    the image's.
    """
    options = replace(
        options,
        environment={"HOME": "/", **image.environment, **options.environment},
        working_directory=image.working_directory,
        user=user(image, image.layers),
    )
    words = [*image.entrypoint, *(command or image.command)]
    return Container(image.layers, words, options, output=output)


def check(running: Container, healthcheck: Healthcheck) -> subprocess.CompletedProcess[str]:
    """Runs the health check once."""
    return running.execute(healthcheck.command, seconds=healthcheck.timeout)


def await_health(running: Container, healthcheck: Healthcheck, within: float = 60) -> None:
    """Returns as soon as the container is healthy."""
    deadline = time.monotonic() + within
    while True:
        try:
            done = check(running, healthcheck)
        except subprocess.TimeoutExpired:
            done = None
        if done is not None and done.returncode == 0:
            return
        if time.monotonic() > deadline:
            said = (done.stdout + done.stderr)[-500:] if done is not None else "nothing in time"
            raise TimeoutError(f"not healthy: {said}\n{running.log()[-2000:]}")
        time.sleep(0.2)


def stop(running: Container, image: Image, grace: float = 10) -> int:
    """The exit status; after `grace` seconds the container is killed, and the status is 137."""
    running.kill(signal.Signals[image.stop_signal])
    try:
        return running.wait(grace)
    except subprocess.TimeoutExpired:
        running.kill(signal.SIGKILL)
        return running.wait(grace)
