#!/bin/sh
# Gives a command what is secret in a file, and becomes that command.
#
# PGPASSWORD is what the catalogue's and MLflow's drivers take if their address has no password,
# so that the address can stand in plain text in compose and Kubernetes files.
set -eu
if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
  PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
  export PGPASSWORD
fi
exec "$@"
