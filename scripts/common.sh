# Sourced by the other scripts: where we are, how to speak, what must be there.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The environment in which the scenarios' clients live; ignored by git because it lies under target/.
VENV=target/scenarios-venv

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

die() { printf '%s\n' "$*" >&2; exit 1; }

require_program() { command -v "$1" >/dev/null || die "$1 is missing: $2"; }

require_toolchain() {
  require_program cargo "install Rust, for example from https://rustup.rs"
  require_program cc "install a C compiler, on Debian: apt-get install gcc libc6-dev"
}

# Installs Debian packages where we may; says what to do where we may not.
install_packages() {
  command -v apt-get >/dev/null || die "Please install what Debian calls: $*"
  if [ "$(id -u)" = 0 ]; then as_root=(); elif command -v sudo >/dev/null; then as_root=(sudo); else
    die "Please install: $*"
  fi
  # The packaged services must not start: policy-rc.d is asked for runlevel 1, where none of them runs.
  "${as_root[@]}" env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "$@" \
    || { "${as_root[@]}" apt-get update --quiet \
         && "${as_root[@]}" env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "$@"; }
}

# A Python with slixmpp in it.
require_venv() {
  require_program python3 "install Python 3"
  if ! "$VENV/bin/python" -c 'import slixmpp' 2>/dev/null; then
    say "Making a Python environment with slixmpp in $VENV"
    python3 -m venv --clear "$VENV" >/dev/null 2>&1 || { install_packages python3-venv; python3 -m venv --clear "$VENV"; }
    "$VENV/bin/pip" install --quiet --disable-pip-version-check --requirement tests/scenarios/requirements.txt
  fi
}

# The bundled modules, one crate name per line.
bundled_modules() { for folder in plugins/*/; do basename "$folder"; done; }
