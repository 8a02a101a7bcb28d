#!/usr/bin/env bash
# DebSum in eleven languages. `--help` tells the rest; docs/benchmarks.md where the settings come from.
set -euo pipefail
# shellcheck source=scripts/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

script=multilingual_debsum
task=debsum
title="DebSum in eleven languages"
default_backbone=multilingual-minilm-l12-h384
languages="en da de es fr it ja ko pl ru uk"
default_train_languages=all

recipe "$@"
