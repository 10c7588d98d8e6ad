#!/usr/bin/env bash
# `axl export-gguf`: what it writes, says and refuses. What llama.cpp makes of the files is the
# business of llama_cpp_test.
# shellcheck source=common.sh
source "$(dirname "$(realpath "$0")")/common.sh" "$1"

mkdir data && cp text.py data/a.py && cp text.py data/b.py
sed 's/holdout: 0/holdout: 0.5, fine_loss_weight: 0.5/' tiny.yaml >fine.yaml
run 0 train --config fine.yaml --data data --quiet --out fine
run 0 "${tiny[@]}" --out untrained

mkdir files
for type in f32 f16 bf16 q8_0 q4_0 q4_k_m q5_k_m q6_k; do
  run 0 export-gguf --model fine --type "$type" -o "files/$type.gguf"
  grep -q 'bits per weight' out || fail "export-gguf says: $(cat out)"
  run 0 eval-ppl --quiet --model "files/$type.gguf" text.py
  run 0 info "files/$type.gguf"
done
run 0 generate --seed 1 --max-new-tokens 20 --model files/f16.gguf 'def f'

# Both scores, and each tensor that could not have the type asked for: rows here are 16 and 24 long.
run 0 export-gguf --model fine --type q4_k_m -o files/m.gguf
grep -q 'the whole model .* the fine head .* as exported' out || fail "no scores: $(cat out)"
grep -q 'blk\.\*\.ffn_down.*f16, for q6_k needs' out || fail "no fallback is told: $(cat out)"
run 0 export-gguf --json --model fine --type q4_k_m -o files/m.gguf
one_object out
[[ $(json "[t['type'] for t in o['tensors'] if t['fallback']][0]" out) == f16 ]] ||
  fail "--json tells no fallback: $(cat out)"
[[ $(json "o['bpb_exported'] > 0 and o['bpb_full'] > 0" out) == True ]] ||
  fail "--json tells no scores: $(cat out)"

# The score of the head before the export is that of the f32 file.
score() { "$axl" eval-ppl --json --quiet "$@" text.py | json "round(o['nats'], 5)" /dev/stdin; }
[[ $(score --model fine --head fine) == $(score --model files/f32.gguf) ]] ||
  fail "the f32 file does not score as the fine head"
[[ $(score --model fine) == $(score --model fine --head full) ]] || fail "full is not the default"
[[ $(score --model fine) != $(score --model fine --head fine) ]] || fail "--head does nothing"

grep -qx 'FROM ./m.gguf' files/Modelfile || fail "the Modelfile is: $(cat files/Modelfile)"
grep -qx 'PARAMETER num_ctx 32' files/Modelfile || fail "the Modelfile is: $(cat files/Modelfile)"

run 0 export-gguf --model untrained -o files/u.gguf
grep -q 'was never trained' err || fail "no warning: $(cat err)"
run 0 export-gguf --model fine -o files/u.gguf
! grep -q 'was never trained' err || fail "a warning without reason"

refuses 2 "is not one of f32, f16, bf16, q8_0, q4_0, q4_k_m, q5_k_m, q6_k; did you mean 'q4_0'?" \
  export-gguf --model fine --type q4_1 -o x.gguf
refuses 2 '-o/--out is needed' export-gguf --model fine
refuses 1 'nowhere' export-gguf --model nowhere -o x.gguf
refuses 1 'no/such' export-gguf --model fine -o no/such/x.gguf
refuses 2 'is the model itself' export-gguf --model fine -o fine/model.safetensors
run 0 quantize fine -o whole.gguf
refuses 1 'quantised already' export-gguf --model whole.gguf -o x.gguf
run 0 "${tiny[@]}" --out memory --set 'model.repeats=[2]'
refuses 1 'model.repeats' export-gguf --model memory -o x.gguf
printf 'FROM mistral\n' >Modelfile
refuses 1 'Modelfile' export-gguf --model fine -o x.gguf
refuses 2 "--head: 'x' is not one of full, fine" eval-ppl --model fine --head x text.py
[[ ! -e x.gguf && $(cat Modelfile) == 'FROM mistral' ]] || fail "a refused export has left something"
finish
