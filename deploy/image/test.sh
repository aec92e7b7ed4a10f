#!/bin/sh
# Packs static programs into the image without its build stage, and looks at what has become of them:
#
#   deploy/image/test.sh [DIRECTORY_OF_PROGRAMS]
#
# Without the argument they are built, unoptimised. Needs buildah (Debian: `apt-get install buildah`) and either root or
# user namespaces. Nothing is downloaded and no container engine is needed.
set -eu

here=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
storage="--storage-driver vfs --root $work/storage --runroot $work/run"
trap 'rm -rf "$work" 2>/dev/null || true' EXIT

fail() {
    echo "image: $*" >&2
    exit 1
}

command -v buildah >/dev/null || fail "buildah is missing: apt-get install buildah"

if [ $# -gt 0 ]; then
    programs=$1
else
    host=$(rustc -vV | sed -n 's/^host: //p')
    (cd "$here" && RUSTFLAGS="-C target-feature=+crt-static" \
        cargo build --locked --target "$host" --package jumpstarter --package jmp --bins)
    programs=${CARGO_TARGET_DIR:-$here/target}/$host/debug
fi

# The last stage of the Containerfile, with the programs in place of the stage that builds them.
context=$work/context
mkdir -p "$context"
"$here/deploy/image/layout.sh" "$programs" "$context/out"
sed -n '/^FROM scratch/,$p' "$here/Containerfile" | sed 's/--from=build \/out\//out\//' >"$context/Containerfile"

# shellcheck disable=SC2086 # Options are words.
buildah $storage build --quiet --isolation chroot --build-arg REVISION=test --tag image "$context" >/dev/null

# shellcheck disable=SC2086
config=$(buildah $storage inspect --type image --format \
    '{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}} {{index .OCIv1.Config.Labels "org.opencontainers.image.revision"}}' image)
[ "$config" = "65532:65532 [/manager] test" ] || fail "user, entry point or label are wrong: $config"

# shellcheck disable=SC2086
container=$(buildah $storage from image)

# Runs a program of the image as its user, with nothing else in sight.
in_image() {
    # shellcheck disable=SC2086
    buildah $storage run --isolation chroot "$container" -- "$@" 2>&1
}

in_image /jumpstarter --version | grep -q '^jumpstarter ' || fail "/jumpstarter does not start"
in_image /jmp --help | grep -q '^Usage: jmp' || fail "/jmp does not start"
in_image /manager --help | grep -q -e '--leader-elect' || fail "/manager is not the controller"
in_image /router --help | grep -q -e '--metrics-listen' || fail "/router is not the router"
in_image /manager -metrics-bind-address=:8080 --help | grep -q -e '--leader-elect' || fail "flags with one dash are not taken"
if in_image /bin/sh -c true >/dev/null; then
    fail "there is a shell"
fi

# shellcheck disable=SC2086
size=$(buildah $storage inspect --type image --format '{{.OCIv1.Architecture}}' image)
echo "image: good ($size, $(du -sh "$context/out" | cut -f1))"
