#!/bin/sh
# Joins a federation in a container: join.sh [options of "cohortium institution init"]
#
# Expected: the kit at /kit/kit.zip, the institution's folder at /srv/cohortium, the relay's at /srv/relay. A folder that
# is no institution's yet is made one with the options; the socket, the relay's user and the ledger's witness are set to
# what the images use. As root it gives both folders to their users; otherwise the relay's is made readable for the group,
# for the relay's user to take over. Run again it changes nothing.
set -eu

site=/srv/cohortium
relay=/srv/relay

if [ ! -e "$site/institution.toml" ]; then
    cohortium institution init "$site" "$@"
    {
        echo 'socket = "/run/cohortium/custodian.sock"'
        echo 'relay_uid = 10002'
        echo 'witness = "/var/lib/cohortium-witness/head"'
        cat "$site/institution.toml"
    } >"$site/institution.toml.new"
    mv "$site/institution.toml.new" "$site/institution.toml"
fi

cohortium institution join /kit/kit.zip "$site" --relay "$relay"

if [ "$(id -u)" = 0 ]; then
    chown -R 10001:10001 "$site"
    chown -R 10002:10002 "$relay"
else
    chmod -R g+rX "$relay"
fi
