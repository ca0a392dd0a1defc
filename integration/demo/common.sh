# What `make run` and `make stop` share. The daemon runs on its defaults, as a newcomer's would.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

scratch=${SWIFTLET_SCRATCH:-.build}
programs=${SWIFTLET_BIN_DIR:-$scratch/release}
socket=/run/swiftlet/swiftlet.sock
pidfile=/run/swiftletd.pid
log=/var/log/swiftletd.log
manifest=integration/manifests/nginx-pausetest.yaml

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

((EUID == 0)) || { echo "needs root: pods are made of namespaces, cgroups and links" >&2; exit 1; }

# The pid of the daemon that an earlier run started, if it still runs.
daemon_pid() {
  local pid
  pid=$(cat "$pidfile" 2>/dev/null) || return 1
  [[ -d /proc/$pid && $(readlink "/proc/$pid/exe") == */swiftletd* ]] || return 1
  echo "$pid"
}

# Ends the daemon; its pods stay.
stop_daemon() {
  local pid
  pid=$(daemon_pid) || return 0
  kill -TERM "$pid"
  for _ in {1..150}; do
    [[ -d /proc/$pid ]] || break
    sleep 0.1
  done
  [[ ! -d /proc/$pid ]] || { echo "swiftletd ($pid) does not end; see $log" >&2; exit 1; }
  rm -f "$pidfile"
}
