http_protocols = "h2,h1"  #: http2 = true
http2_max_concurrent_streams = 200  #: http2_max_concurrent_streams = 200
http2_cleartext = "off"  #: default
protocol = "http"  #: protocol = "http"
uwsgi_allow_ips = "127.0.0.1,::1"  #: uwsgi_allow_ips = ["127.0.0.1", "::1"]
root_path = "/shop"  #: root_path = "/shop"
control_socket_mode = 0o600  #: default
