"""Users, files and names of the processes."""

from __future__ import annotations

import grp
import os
import pwd
import re

from lockgate.convert.conversion import Conversion
from lockgate.convert.option import Option

#: A hook that is copied from a comment in uWSGI's issues, to make TERM stop gracefully.
GRACEFUL_HOOKS = (
    "unix_signal:15 gracefully_kill_them_all",
    "unix_signal:1 gracefully_kill_them_all",
)


def convert(conversion: Conversion) -> None:
    owner(conversion, "uid", "user")
    owner(conversion, "gid", "group")
    groups(conversion)
    pid_file(conversion)
    names(conversion)
    file_mode(conversion)
    hooks(conversion)
    descriptors(conversion)


def owner(conversion: Conversion, key: str, name: str) -> None:
    option = conversion.take(key)
    if option is None:
        return
    text = option.text.strip()
    if not text:
        conversion.not_needed(option, "it is empty")
        return
    if re.search(r"[\s,:=]", text):
        conversion.not_supported(option, f"it is no {name}")
        return
    detail = ""
    has_group = any(other.key == "gid" for other in conversion.pending)
    if not text.isdecimal() and not has_entry(name, text):
        detail = f"this machine has no {name} {text}; Lockgate does not start then"
    elif name == "user" and text.isdecimal() and not has_group and not has_number(int(text)):
        detail = "this machine has no name for the number; Lockgate needs group then"
    conversion.mapped(option, name, text, detail)


def has_entry(kind: str, text: str) -> bool:
    try:
        if kind == "user":
            pwd.getpwnam(text)
        else:
            grp.getgrnam(text)
    except KeyError:
        return False
    return True


def has_number(number: int) -> bool:
    try:
        pwd.getpwuid(number)
    except (KeyError, OverflowError):
        return False
    return True


def groups(conversion: Conversion) -> None:
    for option in conversion.take_all("add-gid"):
        conversion.not_supported(
            option,
            "add the user to the group (usermod -a -G GROUP USER), or SupplementaryGroups= "
            "of systemd",
        )
    for option in conversion.take_all("no-initgroups"):
        conversion.not_needed(option, "further groups of the user are not set")


def pid_file(conversion: Conversion) -> None:
    option = conversion.take("pidfile", "safe-pidfile", "pidfile2", "safe-pidfile2")
    if option is not None:
        conversion.mapped(option, "pid", from_start(conversion, option))


def from_start(conversion: Conversion, option: Option, path: str | None = None) -> str:
    """The path, absolute if it is relative to the directory of the start and not to `chdir`."""
    path = option.text if path is None else path
    is_late = option.key.endswith("2") and option.key != "static-map2"
    has_chdir = any(other.key == "chdir" for other in conversion.pending)
    has_chdir = has_chdir or "chdir" in conversion.settings
    if is_late or not has_chdir or os.path.isabs(path):
        return path
    return os.path.join(conversion.machine.directory, path)


def names(conversion: Conversion) -> None:
    prefix = conversion.take("procname-prefix")
    master = conversion.take("procname-master")
    name = conversion.take("procname")
    chosen = name or master or prefix
    for option in (name, master, prefix):
        if option is None:
            continue
        if option is chosen and option.text.strip():
            conversion.changed(
                option,
                "name",
                option.text.strip(),
                "all processes have this name, with the number of the worker; the package "
                "setproctitle adds the application",
            )
        else:
            conversion.not_needed(option, "name is one for all processes")
    for option in conversion.take_all("auto-procname"):
        conversion.not_needed(option, "processes always have names that say what they are")


def file_mode(conversion: Conversion) -> None:
    option = conversion.take("umask")
    if option is None:
        return
    text = option.text.strip()
    if text and all(c in "01234567" for c in text) and int(text, 8) <= 0o777:
        conversion.mapped(option, "umask", "0" + text.lstrip("0") if text.strip("0") else "0")
    else:
        conversion.not_supported(option, "it is no umask: set umask to an octal number")


def hooks(conversion: Conversion) -> None:
    for option in conversion.take_all("hook-master-start"):
        if " ".join(option.text.split()) in GRACEFUL_HOOKS:
            conversion.not_needed(option, "TERM always stops the server gracefully")
        else:
            conversion.not_supported(
                option,
                "run the command from the service manager (ExecStartPost= of systemd), or at the "
                "import of the application",
            )


def descriptors(conversion: Conversion) -> None:
    option = conversion.take("max-fd")
    if option is not None:
        conversion.not_needed(
            option,
            "the limit is raised to the hard limit at the start; set the latter where the "
            "server is started (LimitNOFILE= of systemd)",
        )
