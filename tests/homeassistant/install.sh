#!/usr/bin/env bash
# Home Assistant in a folder of its own: install.sh FOLDER. Prints what is missing where it cannot be installed.
# It needs a newer Python than most systems have. Where there is none, and packages may be installed (root, Debian or
# Ubuntu), a small Debian unstable in the folder has it.
set -euo pipefail
VERSION=2026.11.0
NEEDS="3.14"
FOLDER=$1
READY=$FOLDER/.ready-$VERSION
if [ -e "$READY" ]; then exit 0; fi
if [ ! -x /usr/sbin/mosquitto ] && ! command -v mosquitto >/dev/null; then
  echo "Mosquitto is not installed: apt-get install mosquitto"; exit 3
fi
mkdir -p "$FOLDER"
# With what the entities of facegate and Home Assistant's own pages need; the rest of its integrations stays away.
PACKAGES="homeassistant==$VERSION paho-mqtt==2.1.0 home-assistant-frontend ifaddr cronsim securetar PyTurboJPEG
  mutagen hassil aiohasupervisor ha-ffmpeg"
newest() {
  for python in "${HOMEASSISTANT_PYTHON:-}" "python$NEEDS" python3; do
    if [ -n "$python" ] && command -v "$python" >/dev/null &&
      "$python" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$NEEDS')" 2>/dev/null; then
      command -v "$python"; return
    fi
  done
}
PYTHON=$(newest)
echo "installing Home Assistant $VERSION into $FOLDER (a few minutes the first time) ..."
if [ -n "$PYTHON" ]; then
  "$PYTHON" -m venv "$FOLDER/venv"
  # shellcheck disable=SC2086
  "$FOLDER/venv/bin/pip" install --quiet $PACKAGES
elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  command -v debootstrap >/dev/null || apt-get install -y -qq debootstrap >/dev/null
  root=$FOLDER/root
  if [ ! -x "$root/usr/bin/python$NEEDS" ]; then
    rm -rf "$root"
    debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates sid "$root" \
      >"$FOLDER/debootstrap.log" || { tail -5 "$FOLDER/debootstrap.log"; exit 3; }
  fi
  if [ ! -x "$root/usr/bin/python$NEEDS" ]; then
    echo "Home Assistant $VERSION needs Python $NEEDS, and Debian unstable has another: set HOMEASSISTANT_PYTHON"; exit 3
  fi
  cp -L /etc/resolv.conf "$root/etc/resolv.conf"
  if [ -d /etc/ssl/certs ]; then cp -rL /etc/ssl/certs/. "$root/etc/ssl/certs/" 2>/dev/null || true; fi
  chroot "$root" python3 -m venv /opt/venv
  # shellcheck disable=SC2086
  env -u PIP_FIND_LINKS chroot "$root" /opt/venv/bin/pip install --quiet --root-user-action ignore $PACKAGES
else
  echo "Home Assistant $VERSION needs Python $NEEDS: install it, or set HOMEASSISTANT_PYTHON"; exit 3
fi
touch "$READY"
