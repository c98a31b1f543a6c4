"""Compatibility with gunicorn: its configuration file, its hooks, and the objects that they use."""
