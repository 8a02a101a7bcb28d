#!/usr/bin/env bash
# Headlines of Gigaword. `--help` tells the rest; docs/benchmarks.md where the settings come from.
set -euo pipefail
# shellcheck source=scripts/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

script=gigaword
task=gigaword
title="Headlines of Gigaword"
default_backbone=minilm-l12-h384-uncased
languages=""

recipe "$@"
