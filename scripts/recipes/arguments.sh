# Sourced by scripts/recipe.sh, never run by itself: what users may say to a recipe, by flags and by environment variables.
# shellcheck shell=bash disable=SC2034,SC2154

recipe_usage() {
    cat <<HELP
Usage: scripts/$script.sh [--backbone NAME] [--from_files DIR] [--output DIR] [--dry-run] [--smoke]

$title: prepare, train, decode, evaluate, and a row in RESULTS.md. What a stage left is not made again, and training goes on
where it stopped; a folder that was made with another MODEL or --from_files is refused.

  --backbone NAME   encoder with its published settings (default $default_backbone; also: BACKBONE=NAME)
  --from_files DIR  the official files (docs/benchmarks.md); without it they come from the hub
  --output DIR      folder for everything (default outputs/$script)
  --dry-run         print the plan: sizes, settings and every command, and do nothing
  --smoke           the whole way with miniature data and a tiny random model, in DIR-smoke: a minute or two on a CPU
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

parse_arguments() {
    backbone=${BACKBONE:-$default_backbone} output="" from_files="" dry_run="" smoke=""
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
    # What is named by a path is meant from where the user stands, the default lies in the repository.
    output=${output:+$(from_here "$output")} from_files=${from_files:+$(from_here "$from_files")}
    output=${output:-outputs/$script} results=${RESULTS:+$(from_here "$RESULTS")}
}

# check_number NAME LEAST: the variable of that name, if it is set, is a whole number from LEAST on.
check_number() {
    local value=${!1:-}
    [[ -z $value || $value =~ ^(0|[1-9][0-9]{0,8})$ && $value -ge $2 ]] || fail "$1=$value: give a whole number from $2 on" 2
}

# check_languages NAME KNOWN: the variable of that name, if it is set, holds languages out of KNOWN, each once, between single spaces.
check_languages() {
    local value=${!1:-} language seen=" "
    [[ -n $value ]] || return 0
    [[ -n $2 ]] || fail "$1=$value: this benchmark has one language; leave it out" 2
    [[ " $value " != *"  "* ]] || fail "$1=$value: put one space between two languages" 2
    for language in $value; do
        [[ " $2 " == *" $language "* ]] || fail "$1=$value: no $language here; give some of: $2" 2
        [[ $seen != *" $language "* ]] || fail "$1=$value: $language twice" 2
        seen+="$language "
    done
}

# What environment variables may say. A wrong one is met before anything is done, and where nothing is, too.
check_variables() {
    check_number GPUS 0
    check_number PER_DEVICE 1
    check_number SEED 0
    check_languages LANGUAGES "${languages:-}"
    if [[ ${default_train_languages:-} != all ]]; then
        check_languages TRAIN_LANGUAGES "${default_train_languages:-}"
    elif [[ ${TRAIN_LANGUAGES:-} != all ]]; then
        check_languages TRAIN_LANGUAGES "$languages"
    fi
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

# The environment variables that were set, as they would be typed before a command.
variables() {
    local name
    for name in BACKBONE METHOD MODEL SPLIT SEED LANGUAGES TRAIN_LANGUAGES TEMPERATURE FIX_WORD_EMBEDDING GPUS PER_DEVICE; do
        [[ -z ${!name:-} ]] || printf '%s=%q ' "$name" "${!name}"
    done
}
