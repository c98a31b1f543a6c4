import socket

statsd_host = "127.0.0.1:8125"  #: statsd_host = *
statsd_prefix = "shop"  #: statsd_prefix = "shop"
dogstatsd_tags = "region:eu,host:" + "a"  #: dogstatsd_tags = "region:eu,host:a"
workers = 1  #: workers = 1
proc_name = socket.gethostname().split(".")[0]  #: name = *
