#!/usr/bin/env bash
# `axl distill`: a run like any other, with a teacher.
# shellcheck source=common.sh
source "$(dirname "$(realpath "$0")")/common.sh" "$1"

run 0 "${tiny[@]}" --out teacher
student=(distill --config tiny.yaml --data text.py --quiet --set 'model.downsample_factors=[1]')
run 0 "${student[@]}" --teacher teacher --out student
grep -q "teacher: $work/teacher/model.safetensors" student/config.yaml ||
  fail "config.yaml does not name the teacher: $(cat student/config.yaml)"
run 0 generate --model student --max-new-tokens 3 x
run 0 export-gguf --model student -o student.gguf
run 0 distill --resume --out student --steps 24 --quiet
run 0 train --resume --out student --steps 26 --quiet
[[ $(tail -n 1 student/train_log.csv) == 26,* ]] || fail "the run did not go on"
run 0 "${student[@]}" --teacher teacher --temperature 3 --alpha 0.5 --out other
grep -q 'distill_alpha: 0.5' other/config.yaml || fail "--alpha is not kept"
run 0 quantize teacher -o teacher.gguf
run 0 "${student[@]}" --teacher teacher.gguf --out from_gguf
run 0 "${student[@]}" --teacher teacher --set train.fim_rate=0.5 --out gaps
grep -q 'not trained to fill gaps' err || fail "no word of a teacher that fills no gaps: $(cat err)"
run 0 "${student[@]}" --teacher gaps --set train.fim_rate=0.5 --out again
[[ ! -s err ]] || fail "a teacher that fills gaps is warned of: $(cat err)"
run 0 "${student[@]}" --teacher teacher --dry-run

refuses 2 '--teacher is missing' "${student[@]}" --out x
refuses 1 'nowhere' "${student[@]}" --teacher nowhere --out x
refuses 2 'own directory' "${tiny[@]}" --set train.teacher=teacher --out teacher
refuses 2 'distill_alpha' "${student[@]}" --teacher teacher --alpha 2 --out x
refuses 2 'reads 32 bytes' "${student[@]}" --teacher teacher --set model.max_seq_len=64 --out x
run 0 "${tiny[@]}" --seed 1 --out stranger
refuses 1 'another teacher' distill --resume --teacher stranger --out student --steps 30 --quiet
refuses 1 'another teacher' train --resume --set 'train.teacher=' --out student --steps 30 --quiet
[[ ! -e x ]] || fail "a refused run has left something"
finish
