"""Configurations are read as uWSGI reads them.

`readings.json` has configurations that were made at random, with what uWSGI 2.0.30 prints for them
(`uwsgi --show-config --ini main.ini`).
"""

import json
import os
from pathlib import Path

import pytest
from lockgate.convert.source import Machine
from lockgate.convert.uwsgi.reader import Reader

READINGS = json.loads(Path(__file__).with_name("readings.json").read_text())
ENVIRONMENT = {"HOME": "/root", "PATH": "/usr/bin:/bin", "ABC": "1", "UWSGI_FOO_BAR": "9"}


@pytest.mark.parametrize("reading", READINGS, ids=map(str, range(len(READINGS))))
def test_a_configuration_is_read_as_uwsgi_reads_it(reading, tmp_path):
    directory = Path(os.path.realpath(tmp_path)) / "case"
    (directory / "sub.dir").mkdir(parents=True)
    (directory / "data.txt").write_text("l1\nl2\n")
    for name in ("main.ini", "sub.dir/inc.ini"):
        (directory / name).write_text(reading[name])
    machine = Machine(ENVIRONMENT, str(directory), "host", 2, 0, 0, 0.0)
    reader = Reader(machine)
    reader.read_environment()
    reader.read_file("main.ini")
    options = [option for option in reader.finish() if not option.ignored]
    found = "\n".join(
        f"{option.key} = {'true' if option.value is None else option.value}" for option in options
    )
    assert found.replace(str(directory), "DIR") == reading["options"]
