"""Runs Django's own session tests with Lockgate's engine: python django_suite.py TESTS STORE

TESTS is the folder `tests` of Django's source archive. Prints the outcome of each test as JSON.
"""

import json
import sys
import unittest

import django
from django.conf import settings
from django.test import SimpleTestCase
from django.test.utils import get_runner, setup_test_environment

folder, store = sys.argv[1:]
sys.path.insert(0, folder)
settings.configure(
    SECRET_KEY="a secret of the tests with 32 bytes",
    SESSION_ENGINE="lockgate.sessions.django",
    LOCKGATE_SESSION_STORE=None if store == "cookie" else store,
    LOCKGATE_SESSION_STORE_TIMEOUT=5,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "sessions_tests",
    ],
    CACHES={
        name: {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
        for name in ("default", "other")
    },
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    ALLOWED_HOSTS=["*"],
    USE_TZ=False,
)
django.setup()

from lockgate.sessions.django import SessionStore  # noqa: E402
from sessions_tests import tests  # noqa: E402


class LockgateTests(tests.SessionTestsMixin, SimpleTestCase):
    backend = SessionStore


class LockgateMiddlewareTests(tests.SessionMiddlewareTests):
    pass


class Outcomes(unittest.TextTestResult):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.outcomes = {}

    def stopTest(self, test):
        super().stopTest(test)
        failed = {of.id(): text for of, text in [*self.failures, *self.errors]}
        self.outcomes[test.id().partition(".")[2]] = failed.get(test.id(), "")


if __name__ == "__main__":
    setup_test_environment()
    runner = get_runner(settings)(verbosity=0)
    databases = runner.setup_databases()
    loader = unittest.TestLoader()
    suite = unittest.TestSuite(
        loader.loadTestsFromTestCase(case) for case in (LockgateTests, LockgateMiddlewareTests)
    )
    with open("/dev/null", "w") as nowhere:
        outcomes = unittest.TextTestRunner(nowhere, resultclass=Outcomes).run(suite).outcomes
    runner.teardown_databases(databases)
    print(json.dumps(outcomes))
