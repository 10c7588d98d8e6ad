#!/usr/bin/env bash
# Models to and from what other programs read: export-safetensors, import, export-gguf --with-axl.
# shellcheck source=common.sh
source "$(dirname "$(realpath "$0")")/common.sh" "$1"

score() { "$axl" eval-ppl --json --quiet "$@" text.py | json "round(o['nats'], 5)" /dev/stdin; }

run 0 "${tiny[@]}" --out tiny --set train.fine_loss_weight=1
whole=$(score --model tiny) fine=$(score --model tiny --head fine)

run 0 export-safetensors --model tiny -o tiny.safetensors
run 0 import tiny.safetensors -o back
cmp -s back/model.safetensors tiny.safetensors || fail "the file does not come back as it was"
[[ $(score --model back) == "$whole" ]] || fail "an imported model scores otherwise"
run 0 train --config back/config.yaml --init back --data text.py --steps 2 --quiet --out more
run 0 export-safetensors --model tiny --type bf16 -o bf16.safetensors
run 0 eval-ppl --quiet --model bf16.safetensors text.py

run 0 export-safetensors --model tiny --hf-llama -o hf
for file in config.json generation_config.json tokenizer.json tokenizer_config.json; do
  one_object "hf/$file"
done
run 0 import hf -o from_hf
[[ $(score --model from_hf) == "$fine" ]] || fail "the model for transformers is not the fine head"

run 0 quantize tiny --type q8_0 -o q8_0.gguf
run 0 import q8_0.gguf -o from_gguf
run 0 train --config from_gguf/config.yaml --init from_gguf --data text.py --steps 2 --quiet --out more

run 0 export-gguf --model tiny --type q8_0 --with-axl -o both.gguf
run 0 quantize tiny --type bf16 -o bf16.gguf
[[ $(score --model both.gguf) == "$(score --model bf16.gguf)" ]] ||
  fail "a file with --with-axl does not score as the whole model"
run 0 generate --model both.gguf --max-new-tokens 5 x
run 0 info both.gguf
grep -q 'stack of scale 4' out || fail "info knows the fine head alone: $(cat out)"
run 0 compress --quiet --model both.gguf text.py -o text.axlz

# The same model much wider, all its weights 0 and most of its file a hole.
python3 - tiny/model.safetensors wide.safetensors <<'PY'
import json, math, sys
file = open(sys.argv[1], 'rb')
header = json.loads(file.read(int.from_bytes(file.read(8), 'little')))
config = json.loads(header.pop('__metadata__')['axl_config'])
end = 0
for tensor in header.values():
    tensor['shape'] = [120000 if n == config['d_ff'] else n for n in tensor['shape']]
    begin, end = end, end + 4 * math.prod(tensor['shape'])
    tensor['data_offsets'] = [begin, end]
config['d_ff'] = 120000
header['__metadata__'] = {'format': 'pt', 'axl_config': json.dumps(config)}
text = json.dumps(header).encode()
with open(sys.argv[2], 'wb') as out:
    out.write(len(text).to_bytes(8, 'little') + text)
    out.truncate(8 + len(text) + end)
PY
refuses 1 '--with-axl: the whole model takes' export-gguf --model wide.safetensors --with-axl -o x.gguf
[[ ! -e x.gguf ]] || fail "a refused export leaves a file"
refuses 2 'one scale' export-gguf --model from_hf --with-axl -o x.gguf
refuses 2 'holds a model already' import tiny.safetensors -o back
refuses 1 'nowhere' import nowhere -o x
refuses 2 '-o/--out is needed' import tiny.safetensors
refuses 2 '-o/--out is needed' export-safetensors --model tiny
refuses 2 "'f16' is not one of f32, bf16" export-safetensors --model tiny --type f16 -o x
refuses 2 'is the model itself' export-safetensors --model tiny -o tiny/model.safetensors
refuses 1 'not that given' import tiny.safetensors --config axl_micro_600k -o x
sed -i 's/"vocab_size": 258/"vocab_size": 32000/' hf/config.json
refuses 1 "'vocab_size' is 32000" import hf -o x
run 0 "${tiny[@]}" --out memory --set 'model.repeats=[2]'
refuses 1 'model.repeats' export-safetensors --model memory --hf-llama -o x
[[ ! -e x && ! -e x.gguf ]] || fail "a refused command has left something"
finish
