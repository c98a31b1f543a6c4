"""The command of the evaluation process. Small, because the supervisor imports it."""

import subprocess
import sys

#: `python -m` would put the working directory first in `sys.path`, where a `json.py` may be.
CODE = (
    "import sys; sys.path[:] = {path!r}; "
    "from lockgate.gunicorn.evaluate import main; main(sys.argv[1:])"
)


def evaluation() -> list[str]:
    """The interpreter with its options and the path of this process, without arguments."""
    if not sys.executable:
        raise RuntimeError("Python does not know its executable: sys.executable is empty")
    options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [sys.executable, *options, "-c", CODE.format(path=sys.path)]
