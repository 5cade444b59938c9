#!/bin/sh
# Builds the image and runs demo, worker and console in it: deploy/image.sh [NAME]
# BASE: image to build on; by default Debian's from its registry, or one made by debootstrap where that cannot be reached.
# STORAGE, RUN: further options of the engine, such as --root DIR; of its 'run' command.
set -eu
cd "$(dirname "$0")/.."
NAME=${1:-localhost/facegate}
RELEASE=bookworm
MAX_MB=600
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

say() { echo "image: $*"; }
missing() { say "$1 is missing: apt-get install $2"; exit 0; }

command -v buildah >/dev/null || missing "buildah" "buildah"
engine() { command=$1; shift; "$command" ${STORAGE:-} "$@"; }

# A registry of images, or else Debian's packages alone.
if [ -z "${BASE:-}" ]; then
  BASE=docker.io/library/debian:$RELEASE-slim
  if ! timeout 30 buildah ${STORAGE:-} pull --quiet "$BASE" >/dev/null 2>&1; then
    command -v debootstrap >/dev/null || missing "debootstrap (no registry of images can be reached)" "debootstrap"
    [ "$(id -u)" = 0 ] || { say "debootstrap needs root: run as root, or give BASE"; exit 0; }
    say "no registry of images can be reached: making a base with debootstrap"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates "$RELEASE" "$WORK/base" >"$WORK/log" 2>&1 \
      || { tail -5 "$WORK/log"; say "debootstrap failed: no registry of packages either"; exit 1; }
    (cd "$WORK/base" && rm -rf var/cache/apt var/lib/apt/lists var/log/* usr/share/doc usr/share/man usr/share/locale)
    BASE=localhost/facegate-base
    made=$(engine buildah from scratch)
    engine buildah add --quiet "$made" "$WORK/base" / >/dev/null
    engine buildah commit --quiet --rm "$made" "$BASE" >/dev/null
  fi
fi

# chroot needs no namespaces; the certificates are those with which this host reaches a registry of packages.
say "building $NAME on $BASE"
engine buildah bud --isolation chroot --format docker --build-arg "BASE=$BASE" \
  --volume /etc/ssl/certs:/etc/ssl/certs:ro -f deploy/Containerfile -t "$NAME" . >"$WORK/log" 2>&1 \
  || { tail -20 "$WORK/log"; exit 1; }
bytes=$(engine buildah inspect --type image --format '{{.Docker.Size}}' "$NAME" 2>/dev/null || echo 0)
size=$(engine buildah images --format '{{.Size}}' "$NAME")
say "size: $size (at most $MAX_MB MB)"
engine buildah images --json "$NAME" >"$WORK/size.json"

# Runs in the image as its user, by podman, or by buildah where podman cannot start a container here.
box=$(engine buildah from "$NAME")
trap 'engine buildah rm "$box" >/dev/null 2>&1; rm -rf "$WORK"' EXIT
mkdir "$WORK/data" && chmod 777 "$WORK/data"
if command -v podman >/dev/null \
  && podman ${STORAGE:-} run --rm --network host ${RUN:-} "$NAME" --version >"$WORK/log" 2>&1; then
  inside() { podman ${STORAGE:-} run --rm --network host ${RUN:-} --volume "$WORK/data:/data" "$NAME" "$@"; }
  say "running with podman"
else
  say "podman cannot run a container here ($(tail -1 "$WORK/log" 2>/dev/null || echo "not installed")): running with buildah"
  inside() {
    engine buildah run --isolation chroot --user facegate --volume "$WORK/data:/data" "$box" -- \
      /opt/facegate/bin/facegate "$@"
  }
fi

user=$(engine buildah inspect --type image --format '{{.OCIv1.Config.User}}' "$NAME")
[ "$user" = facegate ] || { say "runs as '$user', not as facegate"; exit 1; }

inside demo --save /data/demo >"$WORK/demo" 2>"$WORK/log" || { tail -20 "$WORK/log"; say "the demo failed"; exit 1; }
grep -E "identified|wrong names" "$WORK/demo" | sed 's/^/image: demo: /'

inside serve --data /data/console --listen 127.0.0.1:18090 >"$WORK/serve" 2>&1 &
serve=$!
for _ in $(seq 60); do
  if python3 -c "import urllib.request as r; r.urlopen('http://127.0.0.1:18090/healthz', timeout=3)" 2>/dev/null; then
    say "console: answers, with gate and worker"; answered=yes; break
  fi
  sleep 1
done
kill -TERM $serve 2>/dev/null; wait $serve || true
[ "${answered:-}" = yes ] || { tail -20 "$WORK/serve"; say "the console does not answer"; exit 1; }
say "done: $NAME"
