#!/usr/bin/env bash
# scripts/eval_syntax.sh counts what parses, whatever writes the samples.
# usage: eval_syntax_test.sh AXL
script=$(dirname "$(dirname "$(dirname "$(realpath "$0")")")")/scripts/eval_syntax.sh
source "$(dirname "$0")/common.sh"

# A program that writes sample i of this list, whatever it is asked.
mkdir samples
printf 'import os\nimport sy' >samples/0                   # an unfinished line is left out: parses
printf 'def f():\n    return 1\n\ndef g(' >samples/1       # so is an unfinished statement: parses
printf 'def f():\n    return (\n\nx = 1\ny = 2\n' >samples/2 # an error before the cut: fails
printf 'import os' >samples/3                              # no complete line: fails
printf 'def f():\n    if x:\n        y(\n' >samples/4      # the only statement is broken: fails
printf 'def f():\n    if x:\n        y\n    z' >samples/5  # the only statement, to its last line: parses
cat >fake <<'FAKE'
#!/usr/bin/env bash
while (($#)); do
  [[ $1 != --seed ]] || cat "$(dirname "$0")/samples/$2"
  shift
done
echo
FAKE
chmod +x fake

"$script" --axl ./fake --samples 6 >out 2>err || fail "fails: $(cat err)"
grep -q '^3 of 6 samples parse (50 %)' out || fail "prints: $(cat out)"

# The same with a model, twice.
run 0 "${tiny[@]}" --out tiny
for i in 1 2; do
  "$script" --axl "$axl" --model tiny --samples 3 --bytes 40 --keep "kept$i" >"out$i" 2>err ||
    fail "with a model: $(cat err)"
done
diff -r kept1 kept2 || fail "the samples of two runs differ"
cmp out1 out2 || fail "two runs differ"
[[ $(head -c 6 kept1/1.py) == 'class ' ]] || fail "sample 1 does not begin with its prompt"

# misuse CODE PART ARGUMENTS…
misuse() {
  local expected=$1 part=$2 code=0
  shift 2
  "$script" "$@" >out 2>err || code=$?
  ((code == expected)) || fail "$* exits with $code, not $expected"
  grep -qF -- "$part" err || fail "$* says: $(cat err)"
}
misuse 2 '--samples' --samples 0
misuse 2 'needs a value' --model
misuse 2 'unknown' --frobnicate
misuse 1 'build it' --axl ./none
misuse 1 'axl generate failed' --axl "$axl" --model none --samples 1
mkdir bin
for tool in bash dirname realpath env; do ln -s "$(command -v $tool)" bin/; done
code=0
PATH=$work/bin "$script" --axl ./fake >out 2>err || code=$?
((code == 1)) && [[ $(cat err) == *'apt install python3'* ]] || fail "without python3: $(cat err)"
finish
