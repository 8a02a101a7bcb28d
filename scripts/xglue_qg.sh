#!/usr/bin/env bash
# Questions of XGLUE, trained on English. `--help` tells the rest; docs/benchmarks.md where the settings come from.
set -euo pipefail
# shellcheck source=scripts/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

script=xglue_qg
task=xglue_qg
title="Questions of XGLUE, trained on English"
default_backbone=xlm-roberta-base
languages="en de es fr it pt"
default_train_languages=en
miniature=xglue

recipe "$@"
