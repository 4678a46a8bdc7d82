#!/usr/bin/env bash
# Everything `make run` and `make test` need, from a Debian with Python 3.11, git and make and nothing else.
#   setup.sh          own .venv with the locked dependencies; the modules on the path of every message compiled
#   setup.sh tests    also the programs that the integration tests start (Debian packages, as root)
# Says what it does, does nothing twice, and where it may not do a thing prints the exact line that would.
set -euo pipefail
cd "$(dirname "$0")/.."

as_root() { [ "$(id -u)" = 0 ]; }

apt_install() { # apt_install PACKAGE...
  if as_root && command -v apt-get >/dev/null; then
    echo "setup: installing $*"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null 2>&1 && return 0
    apt-get update -qq >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
  else
    echo "setup: needed, and only root can install it:  sudo apt-get install -y $*" >&2
    return 1
  fi
}

# The distribution's own interpreter first: it is built with profile-guided optimisation, which many others on a PATH are not (measured: 40 %
# more speed than a plain build of the same version). PYTHON=... overrides.
find_python() {
  for candidate in "${PYTHON:-}" /usr/bin/python3 python3.11 python3.12 python3.13 python3; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null || continue
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v "$candidate"; return 0; }
  done
  return 1
}

make_venv() {
  python=$(find_python) || { apt_install python3 && python=$(find_python) || { echo "setup: Python 3.11 or newer is needed" >&2; exit 1; }; }
  [ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null || rm -rf .venv
  if [ ! -x .venv/bin/pip ] && [ ! -x .venv/bin/uv ]; then
    rm -rf .venv
    # Debian keeps ensurepip in a package of its own
    "$python" -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv || exit 1
    echo "setup: making .venv with $("$python" --version)"
    "$python" -m venv .venv
  fi
  [ -x .venv/bin/uv ] || .venv/bin/pip install -q --disable-pip-version-check "uv>=0.9" 2> >(grep -v 'is ignored: it is neither' >&2)
}

sync_venv() {
  local stamp
  stamp=.venv/.upesi-$(cat requirements.lock pyproject.toml | sha256sum | cut -c1-16)
  [ -e "$stamp" ] && return 0
  echo "setup: installing the locked dependencies"
  VIRTUAL_ENV=$PWD/.venv .venv/bin/uv pip install -q --require-hashes -r requirements.lock
  VIRTUAL_ENV=$PWD/.venv .venv/bin/uv pip install -q --no-deps -e .
  rm -f .venv/.upesi-*
  touch "$stamp"
}

# C of the modules on the path of every message; plain Python runs where that cannot be
compile_modules() {
  if [ -n "${UPESI_PURE:-}" ]; then
    .venv/bin/python scripts/compile.py --remove
    return
  fi
  if as_root && ! .venv/bin/python scripts/compile.py --able; then
    apt_install gcc python3-dev || true
  fi
  .venv/bin/python scripts/compile.py || echo "setup: plain Python will run" >&2
}

# what the tests start; each one says aloud that it is missing
test_programs() {
  local missing=()
  command -v swaks >/dev/null || missing+=(swaks)
  command -v msmtp >/dev/null || missing+=(msmtp)
  command -v curl >/dev/null || missing+=(curl)
  command -v strace >/dev/null || missing+=(strace)
  [ -n "$(compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1')" ] || missing+=(faketime)
  { command -v postfix || [ -x /usr/sbin/postfix ]; } >/dev/null || missing+=(postfix)
  { command -v haproxy || [ -x /usr/sbin/haproxy ]; } >/dev/null || missing+=(haproxy)
  [ -x /usr/sbin/dovecot ] || missing+=(dovecot-core)
  [ -x /usr/sbin/slapd ] || missing+=(slapd)
  [ -n "$(compgen -G '/usr/lib/postgresql/*/bin/initdb')" ] || missing+=(postgresql)
  [ -x /usr/sbin/unbound ] || missing+=(unbound)
  command -v openssl >/dev/null || missing+=(openssl)
  # python-ldap, the extra "ldap", has no wheels: it is built against the system's libldap
  [ -e /usr/include/ldap.h ] || missing+=(gcc python3-dev libldap-dev libsasl2-dev)
  [ ${#missing[@]} = 0 ] || without_services apt_install "${missing[@]}" || echo "setup: tests that need ${missing[*]} will say that they were skipped" >&2
}

# Debian starts what it installs; the tests start their own, on ports of their own, and need no directory at port 389
without_services() {
  local policy=/usr/sbin/policy-rc.d
  if ! as_root || [ -e $policy ]; then
    "$@"
    return
  fi
  printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy
  trap "rm -f $policy" EXIT
  local status=0
  "$@" || status=$?
  rm -f $policy
  return $status
}

test_libraries() {
  .venv/bin/python -c 'import ldap' 2>/dev/null && return 0
  echo "setup: building python-ldap"
  VIRTUAL_ENV=$PWD/.venv .venv/bin/uv pip install -q --require-hashes -r requirements-ldap.lock ||
    echo "setup: python-ldap could not be built: tests of LDAP will say that they were skipped" >&2
}

make_venv
sync_venv
compile_modules
if [ "${1:-}" = tests ]; then
  test_programs
  test_libraries
fi
