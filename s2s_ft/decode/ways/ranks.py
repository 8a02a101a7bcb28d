"""Several ranks of a launcher that share the work of one input, on one machine or on many.

    torchrun --nproc-per-node=2 decode_seq2seq.py …      sets RANK, LOCAL_RANK, WORLD_SIZE

Notable: every rank reads the input and cuts it alike; which share is whose is settled one share at
a time by counting in the launcher's key-value store, so nobody waits while there is work. Lines
travel through the store, in pieces that it takes, to rank 0, which keeps and writes them. When
nothing is left to take, rank 0 does again what others have not delivered yet: so a rank that is
gone costs time and nothing else. Nothing here needs a process group, nor a network of GPUs.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from s2s_ft.cli import EnvironmentFault, setup_logging
from s2s_ft.decode.lines.outputs import Line
from s2s_ft.decode.lines.sources import Share
from s2s_ft.decode.ways.messages import fault_of, line_from, line_to, raised

logger = logging.getLogger(__name__)

TIMEOUT = timedelta(minutes=30)
"""The longest that a rank waits for rank 0 to say what is done already."""

PIECE = 2**22
"""Most characters of a value: torch's store closes the connection at more than 8 MiB."""

_NEXT, _FAULT, _DONE_BEFORE, _OVER = "next", "fault", "done_before", "over"
_FAULTS = "faults"

Decode = Callable[[Share], list[Line]]


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, seen from one of them; one process alone is one, too.

    Attributes:
        rank: Number of this process among all, from 0.
        size: Processes.
        local_rank: Number of this process on its machine: the GPU it uses; None for one process.
        store: The launcher's key-value store; None for one process.
    """

    rank: int = 0
    size: int = 1
    local_rank: int | None = None
    store: Store | None = field(default=None, repr=False)

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which writes and tells."""
        return self.rank == 0

    def part(self, name: str) -> Ranks:
        """The same ranks with keys of their own, for one of several things they do."""
        if self.store is None:
            return self
        return Ranks(self.rank, self.size, self.local_rank, PrefixStore(name, self.store))

    def results(
        self, shares: Sequence[Share], decode: Decode
    ) -> Iterator[tuple[Share, list[Line]]]:
        """On rank 0: the lines of shares, as they are done here or there.

        Raises:
            ValueError, EnvironmentFault, OSError: What `decode` raised here or there.
        """
        assert self.store is not None
        missing = {share.number: share for share in shares}
        self._put(_DONE_BEFORE, [share.number for share in shares])
        for share in self._claimed(shares):
            yield from self._delivered(missing)
            yield missing.pop(share.number), decode(share)
        while missing:
            yield from self._delivered(missing)
            if missing:
                share = next(iter(missing.values()))
                lines = decode(share)
                yield missing.pop(share.number), lines
        self.store.set(_OVER, "")

    def serve(self, shares: Sequence[Share], decode: Decode) -> None:
        """On the other ranks: decode what is claimed and hand it to rank 0.

        Args:
            shares: All shares of the input.
            decode: Gives the lines of a share.
        """
        assert self.store is not None
        try:
            self.store.wait([_DONE_BEFORE], TIMEOUT)
            wanted = set(self._got(_DONE_BEFORE))
            for share in self._claimed([each for each in shares if each.number in wanted]):
                self._put(f"share/{share.number}", [line_to(line) for line in decode(share)])
        except Exception as fault:
            if self._is_over():
                return
            with suppress(RuntimeError):
                if self.store.add(_FAULTS, 1) == 1:  # the first of several is told
                    self._put(_FAULT, fault_of(fault))
            raise

    def _claimed(self, shares: Sequence[Share]) -> Iterator[Share]:
        """Shares that nobody else has, one after the other."""
        assert self.store is not None
        while (number := self.store.add(_NEXT, 1) - 1) < len(shares):
            yield shares[number]

    def _delivered(self, missing: dict[int, Share]) -> Iterator[tuple[Share, list[Line]]]:
        """What other ranks have handed over since."""
        assert self.store is not None
        if self.store.check([_FAULT]):
            raise raised(self._got(_FAULT))
        for number in list(missing):
            key = f"share/{number}"
            if self.store.check([key]):
                lines = [line_from(each) for each in self._got(key, delete=True)]
                yield missing.pop(number), lines

    def _put(self, key: str, value: Any) -> None:
        """Set a value of any size, as JSON in pieces; the key itself comes last, with their number,
        so that whoever finds it finds them all.
        """
        assert self.store is not None
        text = json.dumps(value)
        starts = range(0, len(text), PIECE)
        for piece, start in enumerate(starts):
            self.store.set(f"{key}/{piece}", text[start : start + PIECE])
        self.store.set(key, str(len(starts)))

    def _got(self, key: str, *, delete: bool = False) -> Any:
        """The value of a key that is set (see `_put`)."""
        assert self.store is not None
        keys = [f"{key}/{piece}" for piece in range(int(self.store.get(key)))]
        value = json.loads(b"".join(map(self.store.get, keys)))
        for each in [key, *keys] if delete else []:
            self.store.delete_key(each)
        return value

    def _is_over(self) -> bool:
        """Whether rank 0 has all it needs, or is gone with the store."""
        assert self.store is not None
        try:
            return bool(self.store.check([_OVER]))
        except RuntimeError:
            return True


@contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks of this run, met, for the time of the body; one process alone meets nobody.

    All but rank 0 log errors only from here on.

    Raises:
        EnvironmentFault: The processes do not find one another.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield Ranks()
        return
    try:
        store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
        local_rank = int(os.environ.get("LOCAL_RANK", rank))
    except (RuntimeError, ValueError) as error:
        raise EnvironmentFault(
            "WORLD_SIZE is set, but the processes of this run did not meet: start them with "
            f"torchrun, or unset WORLD_SIZE ({str(error).splitlines()[0]})"
        ) from error
    if rank > 0:
        setup_logging(level=logging.ERROR)
    starts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    yield Ranks(rank, size, local_rank, PrefixStore(f"s2s_ft/decode/{starts}", store))
