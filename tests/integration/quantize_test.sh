#!/usr/bin/env bash
# `axl quantize`, and its files as the model of every command.
# shellcheck source=common.sh
source "$(dirname "$(realpath "$0")")/common.sh" "$1"

run 0 "${tiny[@]}" --out tiny
for type in bf16 q8_0 q4_k_m; do
  run 0 quantize tiny --type "$type" -o "$type.gguf"
  grep -q 'bits per weight' out || fail "quantize says: $(cat out)"
  run 0 eval-ppl --quiet --model "$type.gguf" text.py
  run 0 info "$type.gguf"
  run 0 generate --seed 1 --max-new-tokens 40 --model "$type.gguf" 'def f'
  mv out once
  run 0 generate --seed 1 --max-new-tokens 40 --model "$type.gguf" --threads 2 'def f'
  cmp -s out once || fail "$type: the text depends on the number of threads"
done
run 0 compress --quiet --model q8_0.gguf text.py -o text.axlz
run 0 decompress --quiet --model q8_0.gguf text.axlz -o back.py
cmp -s text.py back.py || fail "a quantised model does not restore what it compressed"

run 2 quantize tiny --type q9 -o x.gguf
run 2 quantize tiny
run 1 quantize q8_0.gguf -o x.gguf
run 1 quantize tiny -o no/such/directory/x.gguf
run 1 quantize nothing -o x.gguf
run 2 quantize tiny -o tiny/model.safetensors
run 2 "${tiny[@]}" --init q8_0.gguf --out other
head -c 3000 q8_0.gguf >cut.gguf
run 1 generate --model cut.gguf x
[[ ! -e x.gguf ]] || fail "a refused quantize left a file"
finish
