# What scripts say to the user, on stderr. Sourced by them.
# shellcheck shell=bash

SELF=${0##*/}
SELF=${SELF%.sh}

say() { printf '%s\n' "$*" >&2; }
note() { say "$SELF: $*"; }
die() {
  note "error: $*"
  exit 1
}
misuse() {
  note "error: $*"
  say "try 'scripts/$SELF.sh --help'"
  exit 2
}
