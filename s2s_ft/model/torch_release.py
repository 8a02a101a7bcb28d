"""What not every torch that s2s-ft runs with can do, told in one line where it is asked for.

    from 2.6 on    training, decoding, serving, --torch_compile of a training run
    from 2.7 on    --torch_compile when decoding, FSDP2 on CPUs
    from 2.8 on    --fsdp with --dev_file, export to ONNX

FSDP2 on GPUs is in all of them, but was tried here on simulated ones only, from 2.10 on.
"""

from __future__ import annotations

import torch

from s2s_ft.cli import EnvironmentFault


def require_torch(release: str, wanted: str) -> None:
    """Make sure that torch is new enough for something.

    Args:
        release: The oldest torch that can do it, such as `2.8`.
        wanted: What the user asked for, as the command line has it; the message opens with it.

    Raises:
        EnvironmentFault: torch is older.
    """
    if torch.__version__ < release:  # not as texts: torch compares it as releases
        raise EnvironmentFault(
            f"{wanted}: torch {release} or newer is needed, and this is {torch.__version__}: "
            "install a newer one, or do without"
        )
