#!/usr/bin/env bash
# An installed axl works away from its sources and its build.
# usage: install_test.sh BUILD_DIR VERSION
set -euo pipefail

fail() {
  printf 'install_test: %s\n' "$*" >&2
  exit 1
}

build=$1 version=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$work/usr" >"$work/log" || fail "$(cat "$work/log")"
cd "$work"
axl=$work/usr/bin/axl

[[ $("$axl" --version) == "axl $version "* ]] || fail "--version says '$("$axl" --version)'"
for config in "$work"/usr/share/axl/configs/*.yaml; do
  name=$(basename "$config" .yaml)
  # The place in parentheses is where it was found: the installation, not the sources.
  found=$(realpath -m "$("$axl" info "$name" | sed -n '1s/.*(\(.*\))$/\1/p')")
  [[ $found == "$(realpath "$config")" ]] || fail "$name was found in '$found', not in '$config'"
done
[[ -s $work/usr/share/doc/axl/README.md && -s $work/usr/share/doc/axl/LICENSE ]] ||
  fail "README.md and LICENSE are missing"

for i in {1..200}; do printf 'def function_%d(x):\n    return x + %d\n\n' "$i" "$i"; done >code.py
"$axl" train --config axl_micro_600k --data code.py --holdout 0 --steps 2 --quiet >train.log
"$axl" generate --max-new-tokens 5 'def ' >text
[[ $(head -c 4 text) == 'def ' ]] || fail "generate printed '$(cat text)'"
[[ -d checkpoints/axl_micro_600k && -L checkpoints/latest ]] || fail "the run is not in checkpoints/"
