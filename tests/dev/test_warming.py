"""Which files of a project stand for modules in place of those of the standard library."""

import pytest
from lockgate.warming import modules_in


@pytest.mark.parametrize(
    "name, expected",
    [
        ("email.py", {"email"}),
        ("email/__init__.py", {"email"}),
        ("ssl.so", {"ssl"}),
        ("ssl.abi3.so", {"ssl"}),
        ("email/welcome.txt", set()),
        ("ssl.crt", set()),
        ("json", set()),
    ],
)
def test_only_modules_shadow_the_standard_library(tmp_path, name, expected):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.touch()
    assert expected <= modules_in(str(tmp_path))
    assert expected or not modules_in(str(tmp_path))
