#!/bin/sh
# Makes an institution's folder if there is none, and joins a federation: join.sh [options of "cohortium institution init"]
#
# The defaults are what the images use; the environment says otherwise (systemd/README.md). As root it gives both folders
# to their users; otherwise it makes the relay's readable for the group, for the relay's user to take over. Run again it
# changes nothing.
set -eu

site=${SITE:-/srv/cohortium}
relay=${RELAY:-/srv/relay}
kit=${KIT:-/kit/kit.zip}
socket=${SOCKET:-/run/cohortium/custodian.sock}
witness=${WITNESS:-/var/lib/cohortium-witness/head} # where the ledger's newest head is remembered, out of backups' reach
custodian_user=${CUSTODIAN_USER:-10001}
relay_user=${RELAY_USER:-10002}

if [ ! -e "$site/institution.toml" ]; then
    cohortium institution init "$site" "$@"
fi
if ! grep -Eq '^(socket|relay_uid|witness) *=' "$site/institution.toml"; then
    {
        echo "socket = \"$socket\""
        echo "relay_uid = $relay_user"
        echo "witness = \"$witness\""
        cat "$site/institution.toml"
    } >"$site/institution.toml.new"
    mv "$site/institution.toml.new" "$site/institution.toml"
fi

cohortium institution join "$kit" "$site" --relay "$relay"

if [ "$(id -u)" = 0 ]; then
    chown -R "$custodian_user:$custodian_user" "$site"
    chown -R "$relay_user:$relay_user" "$relay"
else
    chmod -R g+rX "$relay"
fi
