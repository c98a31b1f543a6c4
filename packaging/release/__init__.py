"""Prepares a release on this machine: `make release VERSION=0.2.0`. It publishes nothing."""
