"""Every name of uWSGI's module is supported, or refused with advice.

`names.txt` has the names of uWSGI 2.0.31 with caches, a queue, a shared area, a spooler, a mule
and SNMP, `decorators.txt` those of its uwsgidecorators.
"""

from pathlib import Path

import pytest
from lockgate.convert.uwsgi.mapping.log_format import translate
from lockgate.uwsgi import decorators
from lockgate.uwsgi.errors import NotSupportedError
from lockgate.uwsgi.module import UwsgiModule
from lockgate.uwsgi.names import ABSENT, DECORATORS, REFUSED

NAMES = Path(__file__).with_name("names.txt").read_text().split()
FACTS = {
    "supervisor": 1,
    "version": "1",
    "workers": 1,
    "threads": 1,
    "buffer_size": 4096,
    "generation": 0,
    "options": [("a", "1"), ("b", None), ("a", "2")],
}


def module():
    return UwsgiModule(None, FACTS)


def test_every_name_of_uwsgi_is_there_or_refused():
    uwsgi = module()
    assert len(NAMES) > 150
    unknown = [
        name for name in NAMES if name not in ABSENT and name != "env" and not hasattr(uwsgi, name)
    ]
    assert unknown == []


def test_a_refusal_names_the_function_the_caller_and_what_to_use():
    uwsgi = module()
    for name, advice in REFUSED.items():
        with pytest.raises(NotImplementedError) as raised:
            getattr(uwsgi, name)(1, key=2)
        assert str(raised.value).startswith(f"uwsgi.{name} ({__file__}:"), name
        assert str(raised.value).endswith(advice), name
    for name, advice in ABSENT.items():
        assert not hasattr(uwsgi, name), name
        with pytest.raises(NotSupportedError, match="is not available under Lockgate") as raised:
            getattr(uwsgi, name)
        assert __file__ in str(raised.value), name
        assert advice in str(raised.value), name
    with pytest.raises(AttributeError, match="no attribute 'wrong'"):
        uwsgi.wrong  # noqa: B018


def test_decorators_are_refused_where_they_are_used():
    uwsgi = module()
    built = decorators.build(uwsgi)
    for name in DECORATORS:
        with pytest.raises(NotSupportedError, match=f"uwsgidecorators.{name} "):
            getattr(built, name)(lambda: None)


def test_every_decorator_of_uwsgi_is_there():
    built = decorators.build(module())
    names = Path(__file__).with_name("decorators.txt").read_text().split()
    assert len(names) > 20
    assert [name for name in names if not hasattr(built, name)] == []


def test_opt_has_bytes_switches_and_lists():
    assert module().opt == {"a": [b"1", b"2"], "b": True}


def test_the_converter_finds_log_variables_in_a_format():
    translated, missing = translate("%(method) %(user_id) %(vsz)")
    assert translated == "%(m)s %({uwsgi.logvar.user_id}e)s -"
    assert missing == ["vsz"]
