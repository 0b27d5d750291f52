#!/usr/bin/env bash
# Makes the lock files of the images anew, with the versions of constraints.txt: run it after that file has changed.
#
# It needs uv, from PATH or named by UV. uv must also find PyTorch's CPU wheels, which the usual index does not have:
# name their folder or index with UV_FIND_LINKS or UV_INDEX. Without them the lock for CPUs is refused.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python=3.11
platform=x86_64-manylinux_2_28

lock() { # lock NAME SOURCE...: requirements-NAME.txt, of what the sources ask for
    local out="deploy/images/requirements-$1.txt"
    shift
    {
        echo "# Made by deploy/images/lock.sh for Python $python on Linux ($platform). Do not edit."
        "${UV:-uv}" pip compile --quiet --no-header --no-annotate --generate-hashes --only-binary :all: \
            --python-version "$python" --python-platform "$platform" --constraint constraints.txt "$@"
    } >"$out.new"
    mv "$out.new" "$out"
    echo "$out: $(grep -c == "$out") packages"
}

lock build deploy/images/build.in
lock relay deploy/images/relay.in
lock cpu pyproject.toml --extra postgresql
(
    unset UV_FIND_LINKS UV_INDEX
    lock cuda pyproject.toml --extra postgresql
)
if ! grep -q '^torch==.*+cpu' deploy/images/requirements-cpu.txt; then
    echo "requirements-cpu.txt holds torch with CUDA: let uv find PyTorch's CPU wheels (see above)" >&2
    exit 1
fi
