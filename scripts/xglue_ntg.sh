#!/usr/bin/env bash
# News titles of XGLUE, trained on English. `--help` tells the rest; docs/benchmarks.md where the settings come from.
set -euo pipefail
# shellcheck source=scripts/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

script=xglue_ntg
task=xglue_ntg
title="News titles of XGLUE, trained on English"
default_backbone=xlm-roberta-base
languages="en de es fr ru"
default_train_languages=en
miniature=xglue

recipe "$@"
