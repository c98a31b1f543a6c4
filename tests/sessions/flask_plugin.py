"""A pytest plugin with which Flask's own tests use `LockgateSessionInterface`."""

from _pytest import monkeypatch
from flask import Flask
from lockgate.sessions import keyring
from lockgate.sessions.flask import LockgateSessionInterface

# Flask's tests have short secrets.
keyring.SHORTEST_SECRET = 1
Flask.session_interface = LockgateSessionInterface(same_site=None)

# They use a private name of pytest's, which pytest 9.2 has in capitals.
if not hasattr(monkeypatch, "notset"):
    monkeypatch.notset = monkeypatch.NOTSET
