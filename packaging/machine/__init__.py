"""Root file systems of Debian, and containers over them, without a daemon.

Root is needed: containers are namespaces of the kernel, made with `unshare` of util-linux.
"""
