"""The modules `uwsgi` and `uwsgidecorators` for applications that were written for uWSGI.

`install` puts them into `sys.modules` of a worker or a fork server; `docs/uwsgi-module.md` says
what they have. `names` lists what they refuse.
"""
