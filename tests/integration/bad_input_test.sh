#!/usr/bin/env bash
# What is wrong outside the program ends it with one clear line and exit code 1 or 2.
# usage: bad_input_test.sh AXL
source "$(dirname "$0")/common.sh"
train=(train --config tiny.yaml)

# Data.
: >empty.py
mkdir nothing none && touch nothing/picture.png
printf 'short' >short.py
refuses 1 'empty.py' "${train[@]}" --data empty.py
refuses 1 'nothing' "${train[@]}" --data nothing
refuses 1 'none' "${train[@]}" --data none
refuses 1 'missing.py' "${train[@]}" --data missing.py
refuses 1 'one window' "${train[@]}" --data short.py
printf '{"text": "fine"}\n{"text": 3}\n' >pairs.jsonl
refuses 1 'pairs.jsonl:2' "${train[@]}" --data pairs.jsonl
refuses 2 'nothing to train on' "${train[@]}"
if ((EUID == 0)); then
  # Root reads anything; what cannot be opened by anybody is a directory's name as a file.
  refuses 1 'text.py/x' "${train[@]}" --data text.py/x
else
  cp text.py secret.py && chmod 000 secret.py
  refuses 1 'secret.py' "${train[@]}" --data secret.py
fi

# Memory.
refuses 1 'free; these settings fit: --set train.batch_size=' "${train[@]}" --data text.py \
  --set model.d_model=1024 --set train.batch_size=65536
refuses 1 'no settings make it fit' "${train[@]}" --data text.py --set model.d_model=65536

# Keys and flags.
refuses 2 "did you mean '--steps'?" "${train[@]}" --step 3
if "$axl" bench gemm --json --seconds 0.1 --set train.precision=f32 | grep -q '"gemm": *"onednn"'; then
  export ONEDNN_MAX_CPU_ISA=AVX2
  refuses 2 'AVX512_BF16' "${train[@]}" --data text.py --set train.precision=bf16
  unset ONEDNN_MAX_CPU_ISA
fi
export AXL_ISA=avx2
refuses 2 'AVX512_BF16' "${train[@]}" --data text.py --set train.precision=bf16
AXL_ISA=avx
refuses 2 "AXL_ISA is 'avx', but it must be one of avx512, avx2" "${train[@]}" --data text.py
unset AXL_ISA
refuses 2 "did you mean 'train.lr'?" "${train[@]}" --data text.py --set train.lrr=1
refuses 2 "did you mean 'train'?" trian
refuses 2 "did you mean 'axl_micro'?" train --config axl_mcro --data text.py
refuses 2 'key=value' "${train[@]}" --data text.py --set train.lr
refuses 2 'train.optimizer' "${train[@]}" --data text.py --set train.optimizer=lyon
refuses 2 '--config is missing' train --data text.py
refuses 2 '--init' "${train[@]}" --data text.py --resume --init tiny
refuses 2 'when to stop' "${train[@]}" --data text.py --steps 0
sed 's/d_ff: 24/d_ff: 24, d_fff: 3/' tiny.yaml >typo.yaml
refuses 2 'typo.yaml:2' train --config typo.yaml --data text.py
printf 'name: [\n' >broken.yaml
refuses 2 'broken.yaml' train --config broken.yaml --data text.py

# Dimensions and sizes.
impossible() { refuses 2 "$1" "${train[@]}" --data text.py --set "$2"; }
impossible 'n_heads must divide' model.n_heads=3
impossible 'must be even' model.n_heads=16
impossible 'model.d_model' model.d_model=0
impossible 'model.d_model' model.d_model=-16
impossible 'model.d_model' model.d_model=1000000000
refuses 2 'parameters' "${train[@]}" --data text.py --set model.d_model=65536 --set model.d_ff=1048576
impossible 'model.d_ff' model.d_ff=-1
impossible 'model.max_seq_len' model.max_seq_len=0
impossible 'too short' model.max_seq_len=3
impossible 'must begin with 1' 'model.downsample_factors=[2,4]'
impossible 'must ascend' 'model.downsample_factors=[1,4,2]'
impossible 'train.batch_size' train.batch_size=0
impossible 'train.batch_size' train.batch_size=-4
impossible 'train.batch_size' train.batch_size=2.5
impossible 'train.lr' train.lr=-1
impossible 'train.lr' train.lr=nan
impossible 'train.betas' 'train.betas=[0.9]'
impossible 'train.betas' 'train.betas=[0.9,1.0]'
impossible 'train.max_time' train.max_time=soon
refuses 2 'train.steps' "${train[@]}" --data text.py --steps -5
refuses 2 'train.holdout' "${train[@]}" --data text.py --holdout 1.5
refuses 2 '--threads' "${train[@]}" --data text.py --threads 0
[[ ! -e checkpoints ]] || fail "refused runs have made $(find checkpoints)"

# Output that cannot be written.
: >file
refuses 1 'file' "${tiny[@]}" --out file/run
refuses 1 'file' "${tiny[@]}" --out file
refuses 1 '/proc' "${tiny[@]}" --out /proc/axl
if ((EUID != 0)); then
  mkdir locked && chmod 500 locked
  refuses 1 'locked' "${tiny[@]}" --out locked/run
fi

# Models.
refuses 1 'no model' generate x
run 0 "${tiny[@]}" --out tiny
refuses 1 'nowhere' generate --model nowhere x
refuses 1 'holds no model.safetensors' generate --model none x
refuses 1 'text.py' generate --model text.py x
size=$(stat -c %s tiny/model.safetensors)
for bytes in 0 5 8 200 5000 $((size - 1)); do
  head -c "$bytes" tiny/model.safetensors >cut.safetensors
  refuses 1 'cut.safetensors' generate --model cut.safetensors x
done
cp tiny/model.safetensors flipped.safetensors
printf '\x55' | dd of=flipped.safetensors bs=1 seek=$((size - 1000)) conv=notrunc status=none
refuses 1 'checksum' generate --model flipped.safetensors x
refuses 1 'another model configuration' "${tiny[@]}" --out tiny --resume --set model.d_ff=32
refuses 1 'trained by adamw, not by lion' "${tiny[@]}" --out tiny --resume --set train.optimizer=lion
refuses 1 'seed 0, not 5' "${tiny[@]}" --out tiny --resume --seed 5
cp text.py other.py
refuses 1 'other files' train --data other.py --out tiny --resume --quiet
refuses 2 'configuration is' "${tiny[@]}" --out new --init tiny --set model.d_ff=32
run 0 generate --model tiny --max-new-tokens 3 x

# Values of generate, files of eval-ppl.
refuses 2 'temperature' generate --model tiny --temperature -1 x
refuses 2 'top-p' generate --model tiny --top-p 1.5 x
refuses 2 '--max-new-tokens' generate --model tiny --max-new-tokens -3 x
refuses 2 'prompt' generate --model tiny
refuses 1 'empty.py' eval-ppl --model tiny empty.py
refuses 1 'missing.py' eval-ppl --model tiny missing.py
refuses 1 'none' eval-ppl --model tiny none
refuses 1 'file/rows.csv' eval-ppl --model tiny text.py --per-byte file/rows.csv
finish
