"""A file of gunicorn's that has moved: Lockgate's settings beside gunicorn's."""

workers = 2  #: workers = 2
threads = 4  #: threads = 4
request_timeout = 60  #: request_timeout = 60
drain_delay = 0.2  #: drain_delay = "200ms"
limit_request_body = "10MiB"  #: limit_request_body = "10MiB"
stream_request_body = ["/upload"]  #: stream_request_body = ["/upload"]
server_header = ""  #: server_header = ""
domain = "shop.example"  #: variable
