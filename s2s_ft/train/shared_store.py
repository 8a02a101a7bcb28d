"""Token ids that rank 0 makes and all ranks read.

Notable: the folder of the token ids is on a file system that all machines of a run share. A network
file system may show what one machine wrote to the others only after a while, so they look for it
for a minute before they give up.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

from s2s_ft.cli import EnvironmentFault
from s2s_ft.data.store import FeatureStore, open_store
from s2s_ft.train.distributed import World

VISIBLE_SECONDS = 60.0
"""How long a rank looks for what rank 0 has written."""


def built_by_main(world: World, build: Callable[[], FeatureStore]) -> FeatureStore:
    """The store that rank 0 builds or finds, opened on every rank.

    Args:
        world: All its ranks must come here; the others wait as long as it takes.
        build: Called on rank 0 alone.

    Raises:
        ValueError, OSError: On every rank what `build` raised.
        EnvironmentFault: This machine does not see the store.
    """
    store: FeatureStore | None = None
    with world.main_first():
        if world.is_main:
            store = build()
    folder = world.from_main("" if store is None else str(store.folder.resolve()))
    return store or _found(Path(folder), world.rank)


def _found(folder: Path, rank: int) -> FeatureStore:
    """A store that another rank has written."""
    end = time.monotonic() + VISIBLE_SECONDS
    while (store := open_store(folder)) is None:
        if time.monotonic() > end:
            raise EnvironmentFault(
                f"rank {rank} on {socket.gethostname()} does not see the token ids that rank 0 "
                f"made in {folder}: --output_dir and --cached_train_features_file must be on a "
                "file system that all machines share"
            )
        time.sleep(1.0)
    return store
