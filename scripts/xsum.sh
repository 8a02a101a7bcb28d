#!/usr/bin/env bash
# One-sentence summaries of XSum. `--help` tells the rest; docs/benchmarks.md where the settings come from.
set -euo pipefail
# shellcheck source=scripts/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

script=xsum
task=xsum
title="One-sentence summaries of XSum"
default_backbone=minilm-l12-h384-uncased
languages=""

recipe "$@"
