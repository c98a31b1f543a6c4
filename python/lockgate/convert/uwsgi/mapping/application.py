"""The application: what is loaded, from where, and with which environment."""

from __future__ import annotations

import glob
import itertools
import os
import re
import sys

from lockgate.convert.conversion import Conversion
from lockgate.convert.option import Option
from lockgate.convert.report import Outcome

#: Plugins whose work Lockgate does itself.
SERVED_PLUGINS = re.compile(
    r"(python\w*|http|corerouter|logfile|syslog|cheaper_\w+|router_\w+|stats_pusher_\w+|ping|"
    r"transformation_\w+|signal|spooler|cache|rpc|symcall|ugreen|nagios|zergpool|carbon|"
    r"fastrouter|gevent|rsyslog|logsocket|0|clock_\w+)"
)


#: What Lockgate takes from a module: names with dots, or a call.
ATTRIBUTE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(\([^()]*\))?")


def convert(conversion: Conversion) -> None:
    directory(conversion)
    loaded(conversion)
    search_path(conversion)
    virtualenv(conversion)
    environment(conversion)
    plugins(conversion)
    for option in conversion.take_all("pyargv"):
        conversion.not_supported(
            option, "sys.argv is that of the server: let the application read a variable (env)"
        )


def directory(conversion: Conversion) -> None:
    option = conversion.take("chdir")
    if option is not None:
        conversion.mapped(option, "chdir", option.text)


def loaded(conversion: Conversion) -> None:
    """The application: of a module, of a file, mounted, or of PasteDeploy."""
    attribute = conversion.take("callable")
    name = attribute.text if attribute else "application"
    module = conversion.take("module", "wsgi")
    file = conversion.take("wsgi-file", "file")
    mounts = conversion.take_all("mount")
    script_name = conversion.take_flag("manage-script-name")
    if module is not None:
        load_module(conversion, module, name)
        if file is not None:
            conversion.not_supported(file, f"{module.place} names another application")
    elif file is not None:
        load_file(conversion, file, name)
    used = module or file
    for position, mount in enumerate(mounts):
        if position or used is not None:
            conversion.not_supported(
                mount,
                'write a [[mount]] with path or host, and app = "module:attribute"; where the '
                "first mount has become root_path, remove root_path and give it a [[mount]], too "
                "(docs/mounts.md)",
            )
        else:
            load_mount(conversion, mount, name)
    paste(conversion)
    if attribute is not None:
        target = conversion.settings.value("app")
        if target is not None and str(target).endswith(f":{name}"):
            conversion.put(attribute, Outcome.MAPPED, "app", target, "")
        elif target is not None:
            conversion.not_needed(attribute, "the name of the application is given elsewhere")
        else:
            conversion.not_needed(attribute, "no application is loaded that it could belong to")
    if script_name is not None:
        if "root_path" in conversion.settings:
            root = conversion.settings.value("root_path")
            conversion.put(script_name, Outcome.MAPPED, "root_path", str(root), "")
        else:
            conversion.not_needed(script_name, "nothing is mounted under a path")
    if "app" not in conversion.settings and "paste" not in conversion.settings:
        conversion.report.notes.append(
            "no application is named: give it on the command line (lockgate module:attribute), or "
            "set app"
        )


def load_module(conversion: Conversion, option: Option, name: str) -> None:
    module, _, attribute = option.text.strip().partition(":")
    attribute = attribute.strip() or name
    is_module = all(part.isidentifier() for part in module.split("."))
    if not is_module or not ATTRIBUTE.fullmatch(attribute):
        conversion.not_supported(option, 'it names no application: set app = "module:attribute"')
        return
    conversion.mapped(option, "app", f"{module}:{attribute}")


def load_file(conversion: Conversion, option: Option, name: str) -> None:
    if not ATTRIBUTE.fullmatch(name) or ":" in option.text:
        conversion.not_supported(option, 'it names no application: set app = "file.py:attribute"')
        return
    if not option.text.endswith(".py"):
        conversion.not_supported(
            option,
            f"Lockgate loads files that end in .py: rename it and set "
            f'app = "{os.path.splitext(option.text)[0]}.py:{name}"',
        )
        return
    conversion.mapped(option, "app", f"{option.text}:{name}")


def load_mount(conversion: Conversion, option: Option, name: str) -> None:
    """`/path=module:attribute`, `/path=file.py` or `/path=module`."""
    path, equal, target = option.text.partition("=")
    path = path.rstrip("/")
    if not equal or "|" in path or (path and not path.startswith("/")):
        conversion.not_supported(
            option, "only a path is supported: PATH=APPLICATION; let the proxy choose by host"
        )
        return
    if target.endswith(".py"):
        app = f"{target}:{name}"
    elif target.endswith(".wsgi") or "/" in target:
        conversion.not_supported(option, "Lockgate loads files that end in .py: rename it, set app")
        return
    else:
        module, _, attribute = target.partition(":")
        app = f"{module}:{attribute or name}"
    module, _, attribute = app.partition(":")
    is_module = target.endswith(".py") or all(part.isidentifier() for part in module.split("."))
    if not is_module or not ATTRIBUTE.fullmatch(attribute):
        conversion.not_supported(option, 'it names no application: set app = "module:attribute"')
        return
    comments = conversion.comments(option, Outcome.MAPPED, "")
    conversion.settings.put("app", app, *comments)
    if not path:
        conversion.record(option, Outcome.MAPPED, ("app",), "")
        return
    conversion.settings.put("root_path", path, *comments)
    conversion.record(
        option,
        Outcome.CHANGED,
        ("app", "root_path"),
        f"SCRIPT_NAME is {path}; requests for other paths reach the application too, where uWSGI "
        "answers 404",
    )


def paste(conversion: Conversion) -> None:
    option = conversion.take("ini-paste", "paste")
    section = conversion.take("paste-name")
    if option is not None:
        spec = option.text if option.text.startswith("config:") else f"config:{option.text}"
        conversion.not_supported(
            option,
            "write a module with `from paste.deploy import loadapp` and "
            f'`application = loadapp("{spec}")`, and set app',
        )
    if section is not None:
        conversion.not_supported(section, "give the section to loadapp, as config:FILE#SECTION")


def search_path(conversion: Conversion) -> None:
    for option in conversion.take_all(
        "pythonpath", "python-path", "pp", "early-pythonpath", "early-python-path"
    ):
        if glob.has_magic(option.text):
            pattern = os.path.join(conversion.machine.directory, option.text)
            found = sorted(itertools.islice(glob.iglob(pattern), 100))
            if not found:
                conversion.not_needed(option, "nothing matches the pattern")
                continue
            for path in found[:-1]:
                conversion.settings.add("pythonpath", path)
            detail = "the pattern is replaced by what matches it now"
            conversion.add(option, "pythonpath", found[-1], detail, Outcome.CHANGED)
        else:
            conversion.add(option, "pythonpath", option.text)


def virtualenv(conversion: Conversion) -> None:
    """A server runs in the Python that has started it, which decides about the packages."""
    option = conversion.take("home", "virtualenv", "venv", "pyhome")
    if option is None:
        return
    chdir = conversion.settings.value("chdir")
    base = os.path.join(conversion.machine.directory, str(chdir) if chdir else "")
    path = os.path.normpath(os.path.join(base, option.text))
    if os.path.realpath(path) == os.path.realpath(sys.prefix):
        conversion.not_needed(option, "Lockgate runs in this environment")
        return
    conversion.not_supported(
        option,
        f"Lockgate runs in the environment in which it is installed: {path}/bin/pip install "
        f"lockgate, then start {path}/bin/lockgate",
    )


def environment(conversion: Conversion) -> None:
    for option in conversion.take_all("env", "ienv"):
        name, equal, value = option.text.partition("=")
        if not equal or not name.strip():
            conversion.not_supported(option, "must be NAME=VALUE")
        elif name != name.strip():
            conversion.add(
                option,
                "env",
                f"{name.strip()}={value.lstrip()}",
                "without the space before =, which uWSGI takes as a part of the name",
                Outcome.CHANGED,
            )
        else:
            conversion.add(option, "env", option.text)


def plugins(conversion: Conversion) -> None:
    for option in conversion.take_all("plugins", "plugin", "need-plugins", "need-plugin"):
        wanted = [os.path.basename(name.strip()) for name in option.text.split(",")]
        others = [
            name
            for name in wanted
            if name and not SERVED_PLUGINS.fullmatch(name.removesuffix("_plugin.so"))
        ]
        if others:
            conversion.not_supported(
                option,
                f"there are no plugins; what these did needs another way: {', '.join(others)}",
            )
        else:
            conversion.not_needed(
                option, "Python and HTTP are built in; other options are decided one by one"
            )
