#!/usr/bin/env bash
# Questions of SQuAD. `--help` tells the rest; docs/benchmarks.md where the settings come from.
set -euo pipefail
# shellcheck source=scripts/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

script=squad_qg
task=squad_qg_du
title="Questions of SQuAD"
default_backbone=minilm-l12-h384-uncased
languages=""
miniature=squad_qg
# Du et al.'s split unless SPLIT=zhao.
case ${SPLIT:-du} in
    du) ;;
    zhao) task=squad_qg_zhao script=squad_qg ;;
    *) fail "SPLIT=$SPLIT: du or zhao" 2 ;;
esac

recipe "$@"
