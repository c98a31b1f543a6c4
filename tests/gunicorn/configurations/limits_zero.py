"""gunicorn's documented way to have no limits."""

limit_request_line = 0  #: limit_request_line = "64KiB"
limit_request_field_size = 0  #: limit_request_field_size = "64KiB"
limit_request_fields = 0  #: limit_request_fields = 32768
timeout = 300  #: timeout = 300
threads = 20  #: threads = 20
