#!/bin/sh
# Once; certbot's timer renews it.
certbot certonly --webroot --webroot-path /var/www/certbot --domain notes.example \
    --email ops@notes.example --agree-tos --non-interactive \
    --deploy-hook "systemctl reload nginx"
