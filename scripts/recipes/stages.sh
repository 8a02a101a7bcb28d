# Sourced by scripts/recipe.sh, never run by itself: arguments and stages of every recipe.
#
# A recipe sets `script`, `task`, `title`, `default_backbone` and `languages` (none where there is one), then calls `recipe "$@"`;
# the settings come from scripts/recipe.sh.
# shellcheck shell=bash disable=SC2154

recipe_usage() {
    cat <<HELP
Usage: scripts/$script.sh [--backbone NAME] [--from_files DIR] [--output DIR] [--dry-run] [--smoke]

$title: prepare, train, decode, evaluate, and a row in RESULTS.md. What a stage left is not made again, and training goes on
where it stopped.

  --backbone NAME   encoder with its published settings (default $default_backbone; also: BACKBONE=NAME)
  --from_files DIR  the official files (docs/benchmarks.md); without it they come from the hub
  --output DIR      folder for everything (default outputs/$script)
  --dry-run         print the plan: sizes, settings and every command, and do nothing
  --smoke           the whole way with miniature data and a tiny random model: a minute or two on a CPU
  --help            this text

Backbones:
$(tr ' ' '\n' <<<"$backbones" | sed 's/^/  /')

Environment variables: MODEL (folder or hub name of the encoder in place of the backbone's own; UniLM 1.2 and 2 have no place on
the hub), METHOD (causal, masked or pseudo_mask), GPUS (processes; all GPUs unless set), PER_DEVICE (examples per device and pass,
16), SEED (42), LANGUAGES and TRAIN_LANGUAGES (multilingual ones), TEMPERATURE (of the languages' shares in training: 1 unless
set, which leaves them as they are; higher: rare languages come more often; inf: all equally often), FIX_WORD_EMBEDDING=1, RESULTS
(the table), and PYTHON, VENV as for the quick start. On a SLURM cluster: --dry-run, then hand the flags of the training line to
scripts/slurm/train.sbatch.
HELP
}

# In a smoke run everything is tiny, and only whether it works is of interest.
shrink() {
    backbone=tiny separator="[SEP]" megabytes=10 from_files=scripts/miniature/${miniature:-$task}
    rate=1e-3 batch=4 warmup=1 steps=6 epochs="" max_source=96 max_target=24 together="" beam=2 min_len=1 source="smoke"
    languages=${languages:+en de}
}

# do_it COMMAND…: runs it, or with --dry-run prints it so that it could be pasted.
do_it() {
    if [[ -n $dry_run ]]; then
        printf '%q ' "$@"
        printf '\n'
    else
        "$@"
    fi
}

# stage NAME PRODUCT COMMAND…: runs a stage unless its product is there.
stage() {
    local name=$1 product=$2
    shift 2
    if [[ -e $product && -z $dry_run ]]; then
        say "$name: $product is there"
        return
    fi
    say "$name -> $product"
    "$@"
}

newest() {
    if [[ -n $dry_run ]]; then
        printf '%s' "$output/model/ckpt-LAST"
    else
        printf '%s\n' "$output"/model/ckpt-* | sort -V | tail -n 1
    fi
}

prepare() {
    local flags=()
    [[ -z $from_files ]] || flags+=(--from_files "$from_files")
    [[ -z $smoke ]] || flags+=(--allow_other_counts)
    [[ $task != squad_qg_* ]] || flags+=(--answer_separator "$separator")
    # shellcheck disable=SC2206 # one word a language
    [[ -z $languages ]] || flags+=(--languages $languages)
    do_it "$python" -m s2s_ft.data.prepare "$task" --output_dir "$data" "${flags[@]}"
}

make_tiny() { do_it "$python" scripts/tiny_model.py --text "$train_file" --output_dir "$encoder"; }

# One model for several languages: as many rows as they have together, in the shares that TEMPERATURE gives them.
join_languages() {
    local files=() language
    for language in $train_languages; do files+=("$language=$data/$language/train.jsonl"); done
    do_it "$python" -m s2s_ft.data.mixture --train_files "${files[@]}" --temperature "$temperature" --seed "$seed" \
        --output_file "$train_file"
}

train() {
    local flags=()
    [[ -z $steps ]] || flags+=(--num_training_steps "$steps")
    [[ $method != masked || -z $max_masked ]] || flags+=(--num_max_mask_token "$max_masked")
    [[ -z $epochs ]] || flags+=(--num_training_epochs "$epochs")
    [[ $task != cnndm ]] || flags+=(--additional_tokens scripts/sentence_separator.txt)
    [[ -z $fix_embedding ]] || flags+=(--fix_word_embedding)
    do_it "${launcher[@]}" run_seq2seq.py \
        --train_file "$train_file" \
        --model_name_or_path "$encoder" \
        --fine_tuning_method "$method" \
        --output_dir "$output/model" \
        --max_source_seq_length "$max_source" \
        --max_target_seq_length "$max_target" \
        --learning_rate "$rate" \
        --global_batch_size "$batch" \
        --per_gpu_train_batch_size "$per_device" \
        --num_warmup_steps "$warmup" \
        --target_mask_prob "$mask_prob" \
        --label_smoothing "$label_smoothing" \
        --seed "$seed" \
        --keep_checkpoints 2 \
        --logging_steps 100 \
        "${device[@]}" "${flags[@]}"
    [[ -z $dry_run ]] || say "(SLURM: sbatch scripts/slurm/train.sbatch with the flags of this line; then: touch $output/trained)"
    do_it touch "$output/trained"
}

decode() { # INPUT OUTPUT
    local flags=()
    [[ -z $together ]] || flags+=(--max_seq_length "$together")
    do_it "${launcher[@]}" decode_seq2seq.py \
        --model_path "$(newest)" \
        --input_file "$1" \
        --output_file "$2" \
        --beam_size "$beam" \
        --length_penalty "$alpha" \
        --min_len "$min_len" \
        --max_tgt_length "$max_target" \
        --resume \
        "${block[@]}" "${device[@]}" "${flags[@]}"
}

evaluate() { # PREDICTIONS REFERENCES SCORES
    local protocol=$task flags=()
    case $task in
        squad_qg_*) protocol=qg ;;
        debsum) protocol=plain ;;
    esac
    [[ -z $trunc ]] || flags+=(--trunc_len "$trunc")
    do_it "$python" -m s2s_ft.evaluation --protocol "$protocol" --pred "$1" --gold "$2" --output_file "$3" "${flags[@]}"
}

add_row() {
    do_it "$python" scripts/results_row.py --table "$results" --task "$task" --backbone "$backbone" --method "$method" \
        --seed "$seed" --variant "${variant#-}" --command "$command" --scores "${score_files[@]}" \
        --metrics "$output/model/metrics.jsonl"
}

# The environment variables that were set, as they would be typed before a command.
variables() {
    local name
    for name in BACKBONE METHOD MODEL SPLIT SEED LANGUAGES TRAIN_LANGUAGES TEMPERATURE FIX_WORD_EMBEDDING GPUS PER_DEVICE; do
        [[ -z ${!name:-} ]] || printf '%s=%q ' "$name" "${!name}"
    done
}

# Sizes first: two checkpoints of weights and optimizer state (three times the weights) and the third that is being written.
check_disk() {
    local needed=$((megabytes * 3 * 3 + 200)) place=$output free
    while [[ ! -d $place ]]; do place=$(dirname "$place"); done
    free=$(df -Pm "$place" | awk 'NR == 2 { print $4 }')
    say "checkpoints need about $needed MB, $free MB are free in $place (data: the first stage checks)"
    ((free >= needed)) || [[ -n $dry_run ]] || fail "not enough disk: name another one with --output DIR"
}

parse_arguments() {
    backbone=${BACKBONE:-$default_backbone} output=outputs/$script from_files="" dry_run="" smoke=""
    while (($#)); do
        case $1 in
            --dry-run) dry_run=1 ;;
            --smoke) smoke=-smoke ;;
            --backbone | --from_files | --output)
                [[ -n ${2:-} ]] || fail "$1 needs a value (see --help)" 2
                printf -v "${1#--}" '%s' "$2"
                shift
                ;;
            --help | -h)
                recipe_usage
                exit
                ;;
            *) fail "unknown argument $1 (see --help)" 2 ;;
        esac
        shift
    done
    [[ $output == "outputs/$script" ]] || output=$(from_here "$output")
}

# check_number NAME LEAST: the variable of that name, if it is set, is a whole number from LEAST on.
check_number() {
    local value=${!1:-}
    [[ -z $value || $value =~ ^(0|[1-9][0-9]{0,8})$ && $value -ge $2 ]] || fail "$1=$value: give a whole number from $2 on" 2
}

# What environment variables may say. A wrong one is met before anything is done, and where nothing is, too.
check_variables() {
    check_number GPUS 0
    check_number PER_DEVICE 1
    check_number SEED 0
    case ${METHOD:-} in
        "" | causal | masked | pseudo_mask) ;;
        *) fail "METHOD=$METHOD: causal, masked or pseudo_mask" 2 ;;
    esac
    case ${FIX_WORD_EMBEDDING:-0} in
        0) fix_embedding="" ;;
        1) fix_embedding=1 ;;
        *) fail "FIX_WORD_EMBEDDING=$FIX_WORD_EMBEDDING: give 1 to switch it on, 0 for off" 2 ;;
    esac
    temperature=${TEMPERATURE:-1}
    [[ $temperature =~ ^([0-9]+([.][0-9]+)?|inf)$ && $temperature =~ [1-9i] ]] ||
        fail "TEMPERATURE=$temperature: give a number above 0, such as 5, or inf" 2
}

# find_devices: how many processes, how they are started, and what multiplies fastest on them.
find_devices() {
    gpus=${GPUS:-$(nvidia-smi -L 2>/dev/null | grep -c . || true)} per_device=${PER_DEVICE:-16}
    launcher=("$python") device=(--bf16)
    if [[ -n $smoke ]]; then gpus=0 per_device=4; fi
    if ((gpus == 0)); then device=(--no_cuda); fi
    if ((gpus > 1)); then launcher+=(-m torch.distributed.run --nproc-per-node "$gpus" --max-restarts 3); fi
}

# has_references FILE: the test sets of XGLUE were released without them at first.
has_references() { [[ -n $dry_run ]] || head -n 1 "$1" | grep -q '"tgt": '; }

recipe() {
    local language split name rows score_files=()
    command="$(variables)scripts/$script.sh${*:+ $*}"
    parse_arguments "$@"
    check_variables
    encoder_of "$backbone"
    settings_of "$task" "$backbone"
    root=$output$smoke
    seed=${SEED:-42} languages=${LANGUAGES:-$languages}
    output=$root/$backbone
    if [[ -n $smoke ]]; then
        output=$root/tiny
        shrink
        export HF_HUB_OFFLINE=1
    fi
    method=${METHOD:-$method} encoder=${MODEL:-$encoder}
    # What else a run differs in from another with this backbone, method and seed.
    variant=${LANGUAGES:+-${LANGUAGES// /-}}${TRAIN_LANGUAGES:+-trained-on-${TRAIN_LANGUAGES// /-}}
    [[ -z $languages || $temperature == 1 ]] || variant+=-temperature-$temperature
    variant+=${fix_embedding:+-fixed}
    output=$output-$method-$seed$variant results=$root/RESULTS.md
    data=$root/data${LANGUAGES:+-${LANGUAGES// /-}}
    if [[ $task == squad_qg_* ]]; then
        data=$root/data-${task##*_}-$(tr -dc 'a-zA-Z' <<<"$separator") output=$output-${task##*_}
    fi
    [[ -z $smoke ]] || encoder=$output/tiny
    find_devices
    if [[ -z $encoder ]]; then
        fail "--backbone $backbone is on no hub: name the folder that python -m s2s_ft.convert made of it with MODEL=DIR" 2
    fi
    # What is named by a path is meant from where the user stands.
    [[ -z ${RESULTS:-} ]] || results=$(from_here "$RESULTS")
    if [[ -z $smoke && -d $from_files ]]; then from_files=$(cd "$from_files" && pwd); fi
    if [[ -d $encoder ]]; then encoder=$(cd "$encoder" && pwd); fi
    cd "$repository" || exit
    say "$title with $backbone ($encoder): $source"
    say "$method, lr $rate, $batch rows an update, ${steps:+$steps updates}${epochs:+$epochs epochs}, warm-up $warmup, $gpus GPUs"
    check_disk
    if [[ -z $dry_run ]]; then
        set_up ""
        mkdir -p "$output"
    fi

    stage "data" "$data/dataset.json" prepare
    train_file=$data/train.jsonl
    if [[ -n $languages ]]; then
        train_languages=${TRAIN_LANGUAGES:-$default_train_languages}
        [[ $train_languages != all ]] || train_languages=$languages
        train_file=$output/train.jsonl
        stage "training rows of $train_languages, temperature $temperature" "$train_file" join_languages
    fi
    [[ -z $smoke ]] || stage "tiny model" "$encoder/config.json" make_tiny
    stage "training" "$output/trained" train
    # shellcheck disable=SC2086 # one word a language
    for language in ${languages:-""}; do
        for split in dev test; do
            name=$split${language:+.$language} rows=$data${language:+/$language}/$split.jsonl
            stage "decoding $name" "$output/$name.txt" decode "$rows" "$output/$name.txt"
            if ! has_references "$rows"; then
                say "no references in $rows: $output/$name.txt is not scored"
                continue
            fi
            stage "scores of $name" "$output/$name.json" evaluate "$output/$name.txt" "$rows" "$output/$name.json"
            score_files+=("$output/$name.json")
        done
    done
    say "row in $results"
    add_row
    say "done: everything lies in $output"
}
