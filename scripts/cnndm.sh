#!/usr/bin/env bash
# Summaries of CNN/DailyMail. `--help` tells the rest; docs/benchmarks.md where the settings come from.
set -euo pipefail
# shellcheck source=scripts/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

script=cnndm
task=cnndm
title="Summaries of CNN/DailyMail"
default_backbone=minilm-l12-h384-uncased
languages=""

recipe "$@"
