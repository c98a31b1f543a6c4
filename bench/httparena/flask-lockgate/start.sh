#!/bin/sh
# The ports of HttpArena: 8080; 8081 and 8443 over TLS if the profile mounts a certificate.
set -eu
set -- --bind http://0.0.0.0:8080
if [ -e /certs/server.crt ]; then
    set -- "$@" --bind https://0.0.0.0:8081 --bind https://0.0.0.0:8443 \
        --certfile /certs/server.crt --keyfile /certs/server.key
fi
if [ -d /data/static ]; then
    set -- "$@" --static /static=/data/static
fi
exec lockgate "$@"
