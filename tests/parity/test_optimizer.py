"""Golden A6: optimizer steps of the original, with its grouping, clipping, schedule and accumulation.

Notable: the original divides the loss of each micro-batch by their number, where ours weights every supervised token of
the update alike. `MeanOfMeans` asks the model for the original's weighting, so that all else is compared as it runs.
Its AdamW adds epsilon before the bias correction and decays after the update; the tolerances allow for that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from s2s_ft.methods import Batch, golden_batch_unused
