#!/bin/sh
# Lays out the root of the image: deploy/image/layout.sh DIRECTORY_OF_PROGRAMS OUTPUT
set -eu

programs=$1
out=$2

mkdir -p "$out/etc/ssl/certs"
install -m 0755 "$programs/jumpstarter" "$programs/jmp" "$out/"
# One program, told apart by the name that it is started under.
ln -sf jumpstarter "$out/manager"
ln -sf jumpstarter "$out/router"
# For `jmp` against a service with a public certificate. The controller trusts the CA of its cluster, which is mounted.
if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
    install -m 0644 /etc/ssl/certs/ca-certificates.crt "$out/etc/ssl/certs/"
fi
