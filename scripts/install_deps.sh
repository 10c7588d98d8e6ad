#!/usr/bin/env bash
# Installs the Debian packages that axl is built with. Run with --help for more.
set -euo pipefail
# shellcheck source=scripts/messages.sh
source "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/messages.sh"

readonly BUILD_PACKAGES=(
  g++ cmake ninja-build
  libdnnl-dev libeigen3-dev                                    # matrix products
  libcli11-dev libyaml-cpp-dev nlohmann-json3-dev libspdlog-dev
  libfmt-dev libxxhash-dev
  libcpp-httplib-dev                                           # axl serve
  libgtest-dev
)
# For the thread sanitizer (gdb says where a program hangs), the fuzzers, the tests of the command
# line, of axl plot and of the page.
readonly TEST_PACKAGES=(clang libclang-rt-dev libomp-dev gdb python3 gnuplot-nox
  chromium fonts-dejavu-core)

# Fetches what tests/*/package.json name. Debian 12 has only an older Node; a newer one is among them.
readonly NPM_PACKAGES=(nodejs npm)
TESTS_DIR=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")/tests
readonly TESTS_DIR

usage() {
  cat <<'USAGE'
usage: scripts/install_deps.sh [--tests]

Installs with apt-get, as root or by sudo, the Debian packages that axl needs and this machine
lacks. Does nothing, and needs no rights, where all of them are installed.

  --tests   also what scripts/test.sh needs beyond the build: clang and its sanitizers, Chromium, and,
            with npm, llama.cpp and Node (some 230 MB, in tests/llama/node_modules) and clients of
            completion servers (some 230 MB, in tests/serve/node_modules)
USAGE
}

is_installed() {
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# Prints those of the packages that are not installed.
missing_of() {
  local package
  for package in "$@"; do is_installed "$package" || printf '%s\n' "$package"; done
}

apt() {
  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      die "installing needs root or sudo; ask the administrator for: apt-get install ${MISSING[*]}"
    as_root=(sudo)
  fi
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" >&2
}

install_packages() {
  mapfile -t MISSING < <(missing_of "$@")
  if ((!${#MISSING[@]})); then
    note "every package is installed"
    return
  fi
  note "installing ${MISSING[*]}"
  apt update || die "'apt-get update' failed: is there a network?"
  apt install -y --no-install-recommends "${MISSING[@]}" ||
    die "apt-get could not install the packages; its message stands above"
  mapfile -t MISSING < <(missing_of "$@")
  ((!${#MISSING[@]})) || die "still missing: ${MISSING[*]}"
}

# install_npm DIRECTORY WHAT: what tests/DIRECTORY/package.json names. Without it the tests that need
# it say that they are skipped; in CI they may not be.
install_npm() {
  local directory=$TESTS_DIR/$1 what=$2
  local installed=$directory/node_modules/.package-lock.json  # which npm writes last
  [[ -f $installed && ! $directory/package.json -nt $installed ]] && return
  note "installing $what in $directory/node_modules"
  # What is prebuilt needs no scripts, and the optional packages are for other machines.
  npm install --prefix "$directory" --omit=optional --ignore-scripts --no-package-lock \
    --no-audit --no-fund --loglevel=error >&2 && return
  rm -rf "$directory/node_modules"
  [[ ${CI:-} != true ]] || die "npm could not install $what; its message stands above"
  note "npm could not install $what: tests that need it will be skipped"
}

main() {
  local tests=false
  local packages=("${BUILD_PACKAGES[@]}")
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        exit 0
        ;;
      --tests)
        tests=true
        packages+=("${TEST_PACKAGES[@]}")
        command -v npm >/dev/null || packages+=("${NPM_PACKAGES[@]}")
        ;;
      *)
        misuse "unknown argument '$1'"
        ;;
    esac
    shift
  done
  command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    die "this is no Debian system; install by hand what these packages hold: ${packages[*]}"

  install_packages "${packages[@]}"
  if $tests; then
    install_npm llama "llama.cpp"
    install_npm serve "clients of completion servers"
  fi
}

main "$@"
