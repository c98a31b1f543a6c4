"""Settings about things that Lockgate does not have."""

import ssl

worker_tmp_dir = "/tmp"  #: ignored
http_parser = "fast"  #: ignored
spew = True  #: ignored
tmp_upload_dir = "/tmp"  #: ignored
ssl_version = ssl.PROTOCOL_TLS_CLIENT  #: ignored
suppress_ragged_eofs = False  #: ignored
do_handshake_on_connect = True  #: ignored
enable_stdio_inheritance = True  #: ignored
control_socket_disable = True  #: ignored
control_socket = "gunicorn.ctl"  #: ignored
permit_unconventional_http_method = True  #: ignored
asgi_loop = "uvloop"  #: ignored
dirty_timeout = 10  #: ignored
http2_initial_window_size = 1048576  #: ignored
