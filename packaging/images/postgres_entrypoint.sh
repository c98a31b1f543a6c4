#!/bin/sh
# Makes the database that POSTGRES_USER, POSTGRES_DB and POSTGRES_PASSWORD_FILE name, then serves.
set -eu
mkdir -p "$PGDATA" /run/postgresql
chown postgres:postgres "$PGDATA" /run/postgresql
as() { setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"; }
if ! [ -s "$PGDATA/PG_VERSION" ]; then
    install -o postgres -m 600 "$POSTGRES_PASSWORD_FILE" /run/postgresql/password
    as initdb --username="$POSTGRES_USER" --pwfile=/run/postgresql/password --no-sync \
        --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    echo "CREATE DATABASE \"$POSTGRES_DB\"" | as postgres --single -j postgres
fi
exec setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@" -c listen_addresses='*'
