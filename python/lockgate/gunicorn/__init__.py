"""Compatibility with gunicorn: its configuration file, its hooks, the objects that they use, and
its loggers. Where gunicorn is not installed, `import gunicorn` finds this package.
"""

#: The version of gunicorn whose interface this is.
version_info = (27, 0, 1)
__version__ = ".".join(map(str, version_info))
SERVER = "gunicorn"
SERVER_SOFTWARE = f"{SERVER}/{__version__}"
