"""Runs the tests with interpreters of Debian releases: `python -m interpreters python3.15`."""
