# Sourced by the recipes (cnndm.sh, xsum.sh, …), never run by itself: the backbones, and their published settings for each benchmark.
#
# docs/benchmarks.md tells where every number comes from; recipes/stages.sh reads what is set here.
# shellcheck shell=bash disable=SC2034

# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
# shellcheck source=scripts/made_with.sh
source "$(dirname "${BASH_SOURCE[0]}")/made_with.sh"
# shellcheck source=scripts/recipes/arguments.sh
source "$(dirname "${BASH_SOURCE[0]}")/recipes/arguments.sh"
# shellcheck source=scripts/recipes/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/recipes/stages.sh"

backbones="minilm-l12-h384-uncased minilm-l6-h384-uncased unilm1-base-cased unilm1.2-base-uncased unilm2-base-uncased
unilm1-large-cased bert-base-uncased roberta-base xlm-roberta-base infoxlm-base multilingual-minilm-l12-h384"

# encoder_of BACKBONE: its place on the hub, whether it is cased, its separator, and megabytes of weights.
encoder_of() {
    separator="[SEP]"
    case $1 in
        minilm-l12-h384-uncased) encoder=microsoft/MiniLM-L12-H384-uncased megabytes=130 ;;
        minilm-l6-h384-uncased) encoder=nreimers/MiniLM-L6-H384-uncased megabytes=90 ;;
        unilm1-base-cased) encoder=microsoft/unilm-base-cased megabytes=440 ;;
        unilm1-large-cased) encoder=microsoft/unilm-large-cased megabytes=1360 ;;
        unilm1.2-base-uncased | unilm2-base-uncased) encoder="" megabytes=440 ;;
        bert-base-uncased) encoder=google-bert/bert-base-uncased megabytes=440 ;;
        roberta-base) encoder=FacebookAI/roberta-base megabytes=500 separator="</s>" ;;
        xlm-roberta-base) encoder=FacebookAI/xlm-roberta-base megabytes=1110 separator="</s>" ;;
        infoxlm-base) encoder=microsoft/infoxlm-base megabytes=1110 separator="</s>" ;;
        multilingual-minilm-l12-h384) encoder=microsoft/Multilingual-MiniLM-L12-H384 megabytes=470 separator="</s>" ;;
        *) fail "--backbone $1: no settings for it; one of: $(tr '\n' ' ' <<<"$backbones")" 2 ;;
    esac
}

# settings_of TASK BACKBONE: what was published, or else what comes nearest; `source` says which.
settings_of() {
    mask_prob=0.5 label_smoothing=0.1 min_len=1 alpha=0 block=(--forbid_duplicate_ngrams --forbid_ignore_word ".")
    method=pseudo_mask max_masked="" trunc="" steps="" epochs="" together=""
    case $1 in
        cnndm)
            rate=7e-5 batch=64 warmup=1000 steps=45000 max_source=608 max_target=160 together=768 beam=5
            block=(--forbid_duplicate_ngrams --forbid_ignore_word ".|[X_SEP]")
            ;;
        xsum) rate=7e-5 batch=64 warmup=500 steps=32000 max_source=464 max_target=48 together=512 beam=5 ;;
        gigaword) rate=7e-5 batch=128 warmup=1000 epochs=10 max_source=144 max_target=48 together=192 beam=5 alpha=0.6 block=() ;;
        squad_qg_*) rate=2e-5 batch=48 warmup=2524 epochs=16 max_source=464 max_target=48 together=512 beam=8 alpha=1.3 block=() ;;
        xglue_ntg | xglue_qg)
            rate=1e-5 batch=1024 warmup=2000 epochs=30 max_source=464 max_target=48 together=512 beam=10 alpha=1 block=()
            label_smoothing=0.2
            [[ $1 == xglue_ntg ]] || epochs=50
            ;;
        debsum) rate=1e-4 batch=32 warmup=500 epochs=3 max_source=192 max_target=48 together=240 beam=5 alpha=1 block=() ;;
    esac
    source="nearest published: see docs/benchmarks.md"
    case $1/$2 in
        cnndm/unilm1-base-cased) source="s2s-ft README" ;;
        cnndm/unilm1.2-base-uncased) min_len=48 source="s2s-ft README" ;;
        cnndm/unilm2-base-uncased) steps=62806 warmup=1256 alpha=0.7 mask_prob=0.7 source="UniLMv2 paper; word-drop: s2s-ft README" ;;
        cnndm/unilm1-large-cased)
            rate=3e-5 batch=48 warmup=17944 steps=179445 max_source=568 max_target=200 alpha=1 mask_prob=0.7 method=masked max_masked=140 trunc=70
            source="UniLM v1 README"
            ;;
        cnndm/minilm-*) rate=1e-4 steps=108000 ;;
        xsum/unilm1.2-base-uncased) source="s2s-ft README" ;;
        xsum/minilm-l12-h384-uncased) rate=1e-4 steps=108000 source="s2s-ft README" ;;
        xsum/minilm-l6-h384-uncased) rate=1e-4 steps=108000 ;;
        xsum/unilm2-base-uncased)
            steps=48000 warmup=1000 max_source=720 together=768 mask_prob=0.4 beam=8 alpha=0.9 source="s2s-ft README"
            ;;
        gigaword/unilm1-large-cased) rate=3e-5 epochs=30 mask_prob=0.7 method=masked max_masked=48 source="UniLM v1 README" ;;
        squad_qg_*/unilm2-base-uncased) source="UniLMv2 paper" ;;
        squad_qg_*/unilm1-large-cased)
            batch=32 warmup=2366 epochs=10 mask_prob=0.7 beam=1 alpha=0 method=masked max_masked=48 source="UniLM v1 README"
            ;;
        xglue_*/*) source="Unicoder's settings (encoder and decoder there)" ;;
        debsum/*) source="ours" ;;
    esac
}
