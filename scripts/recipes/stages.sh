# Sourced by scripts/recipe.sh, never run by itself: the stages of every recipe.
#
# A recipe sets `script`, `task`, `title`, `default_backbone` and `languages` (none where there is one), then calls `recipe "$@"`;
# the settings come from scripts/recipe.sh.
# shellcheck shell=bash disable=SC2154

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
    [[ -z $prepared ]] || flags+=(--languages $prepared)
    do_it "$python" -m s2s_ft.data.prepare "$task" --output_dir "$data" "${flags[@]}"
    [[ -n $dry_run ]] || note_made_with "$data" "${made_with[@]:2}"
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

# Sizes first: two checkpoints of weights and optimizer state (three times the weights) and the third that is being written.
check_disk() {
    local needed=$((megabytes * 3 * 3 + 200)) place=$output free
    while [[ ! -d $place ]]; do place=$(dirname "$place"); done
    free=$(df -Pm "$place" | awk 'NR == 2 { print $4 }')
    say "checkpoints need about $needed MB, $free MB are free in $place (data: the first stage checks)"
    ((free >= needed)) || [[ -n $dry_run ]] || fail "not enough disk: name another one with --output DIR"
}

# find_devices: how many processes, how they are started, and what multiplies fastest on them.
find_devices() {
    gpus=${GPUS:-$(nvidia-smi -L 2>/dev/null | grep -c . || true)} per_device=${PER_DEVICE:-16}
    launcher=("$python") device=(--bf16)
    if [[ -n $smoke ]]; then gpus=0 per_device=4; fi
    if ((gpus == 0)); then device=(--no_cuda); fi
    if ((gpus > 1)); then launcher+=(-m torch.distributed.run --nproc-per-node "$gpus" --max-restarts 3); fi
}

# is_begun: there are products of the encoder, and with them a note or what training says of itself.
is_begun() { [[ -e $output/trained ]] || has_checkpoint "$output/model"; }

# MODEL and the official files are in no folder's name, so what was made with others is not gone on with.
check_products() {
    local way_out="give it as then, or name another --output DIR" options=$output/model/train_options.json began_with
    check_made_with "$data" "$way_out" "${made_with[@]:2}"
    is_begun || return 0
    check_made_with "$output" "$way_out" "${made_with[@]}"
    if [[ ! -f $output/made_with && -f $options && -z $smoke ]]; then
        began_with=$(sed -n 's/^ *"model_name_or_path": "\([^\]*\)",$/\1/p' "$options")
        # Who trained by hand may have named it from where he stood.
        [[ $encoder == */"$began_with" ]] || refuse_other "$options" "$way_out" MODEL "$began_with" "$encoder"
    fi
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
    train_languages=${TRAIN_LANGUAGES:-${default_train_languages:-}}
    [[ $train_languages != all ]] || train_languages=$languages
    prepared=$languages
    for language in $train_languages; do [[ " $prepared " == *" $language "* ]] || prepared+=" $language"; done
    method=${METHOD:-$method} encoder=${MODEL:-$encoder}
    # What else a run differs in from another with this backbone, method and seed.
    variant=${LANGUAGES:+-${LANGUAGES// /-}}${TRAIN_LANGUAGES:+-trained-on-${TRAIN_LANGUAGES// /-}}
    [[ -z $languages || $temperature == 1 ]] || variant+=-temperature-$temperature
    variant+=${fix_embedding:+-fixed}
    output=$output-$method-$seed$variant results=${results:-$root/RESULTS.md}
    data=$root/data${LANGUAGES:+-${prepared// /-}}
    if [[ $task == squad_qg_* ]]; then
        data=$root/data-${task##*_}-$(tr -dc 'a-zA-Z' <<<"$separator") output=$output-${task##*_}
    fi
    find_devices
    if [[ -z $encoder ]]; then
        fail "--backbone $backbone is on no hub: name the folder that python -m s2s_ft.convert made of it with MODEL=DIR" 2
    fi
    [[ ! -d $encoder ]] || encoder=$(from_here "$encoder")
    [[ -z $smoke ]] || encoder=$output/tiny
    made_with=(MODEL "${encoder#"$output/"}" --from_files "${from_files:-none}")
    cd "$repository" || exit
    check_products
    say "$title with $backbone ($encoder): $source"
    say "$method, lr $rate, $batch rows an update, ${steps:+$steps updates}${epochs:+$epochs epochs}, warm-up $warmup, $gpus GPUs"
    check_disk
    if [[ -z $dry_run ]]; then
        set_up ""
        is_begun || note_made_with "$output" "${made_with[@]}"
    fi

    stage "data" "$data/dataset.json" prepare
    train_file=$data/train.jsonl
    if [[ -n $languages ]]; then
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
