bind = ["127.0.0.1:8002", "[::1]:8002"]  #: bind = ["127.0.0.1:8002", "[::1]:8002"]
proxy_protocol = True  #: proxy_protocol = "auto"
proxy_allow_ips = "10.0.0.0/8, 192.168.1.7"  #: proxy_allow_ips = ["10.0.0.0/8", "192.168.1.7"]
forwarded_allow_ips = "10.1.2.3,10.1.2.4"  #: forwarded_allow_ips = ["10.1.2.3", "10.1.2.4"]
reuse_port = True  #: reuse_port = true
workers = 2  #: workers = 2
