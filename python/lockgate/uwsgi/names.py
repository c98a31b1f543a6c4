"""The names of uWSGI's module that Lockgate refuses, each with what to use instead.

The tests compare them with the names of the real module.
"""

from __future__ import annotations

_JOBS = (
    "Lockgate runs no background jobs: use a task queue such as Celery, RQ or Dramatiq, in "
    "processes of its own"
)
_CRON = (
    "Lockgate has no timers: let cron or a systemd timer run a command of the application, or run "
    "Celery beat or APScheduler in a process of its own"
)
_SIGNALS = (
    "Lockgate has no uWSGI signals: use a task queue for work, and Redis or a database to notify "
    "other processes"
)
_MULES = f"there are no mules; {_JOBS}"
_SPOOLER = f"there is no spooler; {_JOBS}"
_RPC = "Lockgate has no RPC: import the function, or call the other service over HTTP"
_WEBSOCKETS = (
    "Lockgate serves no WebSockets to WSGI applications: run that endpoint under an ASGI server "
    "and route its path there"
)
_SOCKETS = "use the modules socket and select: a request runs on a thread of its own"
_BODY = "read wsgi.input: it has the decoded body and ends with it"
_METRICS = "use prometheus_client or statsd; the server's own metrics are at /metrics of admin_bind"
_SHARED_AREA = "use a shared cache (uwsgi_cache), multiprocessing.shared_memory or Redis"
_QUEUE = "use a task queue or Redis; a shared cache (uwsgi_cache) can hold single values"
_SNMP = "use /metrics of admin_bind, and an exporter for SNMP"
_LEGION = "use an election of another service, such as etcd, Consul or Redis"
_LOADING = "uWSGI's importers belong to its binary: install the code as a package"
_OFFLOAD = "return environ['wsgi.file_wrapper'](file) or an iterable"

#: Functions that the module has, and that raise when they are called.
REFUSED: dict[str, str] = {
    "add_cron": _CRON,
    "add_timer": _CRON,
    "add_rb_timer": _CRON,
    "add_file_monitor": "use the package watchfiles, or lockgate ctl reload in the deploy script",
    "register_signal": _SIGNALS,
    "signal": _SIGNALS,
    "signal_wait": _SIGNALS,
    "signal_registered": _SIGNALS,
    "signal_received": _SIGNALS,
    "mule_msg": _MULES,
    "farm_msg": _MULES,
    "mule_get_msg": _MULES,
    "farm_get_msg": _MULES,
    "register_rpc": _RPC,
    "rpc": _RPC,
    "rpc_list": _RPC,
    "call": _RPC,
    "websocket_handshake": _WEBSOCKETS,
    "websocket_recv": _WEBSOCKETS,
    "websocket_recv_nb": _WEBSOCKETS,
    "websocket_send": _WEBSOCKETS,
    "websocket_send_binary": _WEBSOCKETS,
    "chunked_read": _BODY,
    "chunked_read_nb": _BODY,
    "connection_fd": "the connection belongs to the server; the response is what the call returns",
    "disconnect": (
        "return the response first: close() of an iterable runs after it, and a task queue later"
    ),
    "ready_fd": _SOCKETS,
    "wait_fd_read": _SOCKETS,
    "wait_fd_write": _SOCKETS,
    "async_connect": _SOCKETS,
    "async_sleep": "use time.sleep: a request runs on a thread of its own",
    "connect": _SOCKETS,
    "is_connected": _SOCKETS,
    "send": _SOCKETS,
    "recv": _SOCKETS,
    "close": _SOCKETS,
    "sendfile": _OFFLOAD,
    "offload": _OFFLOAD,
    "start_response": "use the start_response that the call gets",
    "route": "route in the application or in the proxy",
    "parsefile": "it reads uWSGI's packets, which Lockgate does not store",
    "embedded_data": _LOADING,
    "extract": _LOADING,
    "SymbolsImporter": _LOADING,
    "SymbolsZipImporter": _LOADING,
    "ZipImporter": _LOADING,
}

#: Names that uWSGI's module has only with an option or a plugin: `hasattr` is false.
ABSENT: dict[str, str] = {
    "spool": _SPOOLER,
    "send_to_spooler": _SPOOLER,
    "set_spooler_frequency": _SPOOLER,
    "spooler_jobs": _SPOOLER,
    "spooler_pid": _SPOOLER,
    "spooler_pids": _SPOOLER,
    "spooler_get_task": _SPOOLER,
    "spoolers": _SPOOLER,
    "send_message": _RPC,
    "send_multi_message": _RPC,
    "queue_get": _QUEUE,
    "queue_set": _QUEUE,
    "queue_last": _QUEUE,
    "queue_push": _QUEUE,
    "queue_pull": _QUEUE,
    "queue_pop": _QUEUE,
    "queue_slot": _QUEUE,
    "queue_pull_slot": _QUEUE,
    "queue_size": _QUEUE,
    "i_am_the_lord": _LEGION,
    "lord_scroll": _LEGION,
    "scrolls": _LEGION,
    "metric_inc": _METRICS,
    "metric_dec": _METRICS,
    "metric_mul": _METRICS,
    "metric_div": _METRICS,
    "metric_get": _METRICS,
    "metric_set": _METRICS,
    "metric_set_max": _METRICS,
    "metric_set_min": _METRICS,
    **{
        f"sharedarea_{name}": _SHARED_AREA
        for name in (
            *("read", "write", "rlock", "wlock", "unlock", "memoryview", "object"),
            *("readbyte", "writebyte", "read8", "write8", "readlong", "writelong"),
            *("read64", "write64", "read32", "write32", "read16", "write16"),
            *("inclong", "inc64", "inc32", "dec64", "dec32"),
        )
    },
    **{
        f"snmp_{name}": _SNMP
        for name in (
            *("set_counter32", "set_counter64", "set_gauge", "set_community"),
            *("incr_counter32", "incr_counter64", "incr_gauge"),
            *("decr_counter32", "decr_counter64", "decr_gauge"),
        )
    },
    "green_pause": _SOCKETS,
    "sharedarea": _SHARED_AREA,
    "pidfile": "the setting pid names the file",
    "mode": "set a variable of the environment (env)",
}

#: Decorators of `uwsgidecorators` that are refused.
DECORATORS: dict[str, str] = {
    "spool": _SPOOLER,
    "spoolraw": _SPOOLER,
    "spoolforever": _SPOOLER,
    "mulefunc": _MULES,
    "mule": _MULES,
    "muleloop": _MULES,
    "mulemsg": _MULES,
    "mulemsg_loop": _MULES,
    "mule_brain": _MULES,
    "mule_brainloop": _MULES,
    "mule_msg_dispatcher": _MULES,
    "farm": _MULES,
    "farm_loop": _MULES,
    "rpc": _RPC,
    "signal": _SIGNALS,
    "get_free_signal": _SIGNALS,
    "timer": _CRON,
    "rbtimer": _CRON,
    "cron": _CRON,
    "filemon": REFUSED["add_file_monitor"],
    "erlang": _RPC,
}
