"""The model's thread: batches of texts that come and go, one batch after another.

    texts of a batch     a -------->
                         b -->          each leaves as soon as it is done,
                            c ----->    and the next of equal settings takes its place
                              d -->

Notable: where the model fails as a whole, the requests whose texts it had are tried again one by
one, so that one that the model cannot take does not fail those that were decoded beside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from s2s_ft.serve.backend import Backend, ModelFault, Outcome, Settings, Task
from s2s_ft.serve.waiting import Owner, Waiting, WaitingRoom

ListenedOwner = TypeVar("ListenedOwner", contravariant=True)


class Listener(Protocol[ListenedOwner]):
    """Who is told what happens, on the model's thread."""

    def begun(self) -> None:
        """A batch has begun."""

    def joined(self) -> None:
        """A text has joined a batch that was running."""

    def came(self, owner: ListenedOwner, index: int, outcome: Outcome) -> None:
        """One of an owner's texts has come back; a fault is one of all its texts."""


class Runs(Generic[Owner]):
    """What the model's thread does from beginning to end."""

    def __init__(
        self,
        backend: Backend,
        room: WaitingRoom[Owner],
        listener: Listener[Owner],
        *,
        size: int,
        patience_s: float,
    ) -> None:
        """Take the model, and where its texts wait.

        Args:
            backend: the model.
            room: the end has come when it is closed.
            listener: told of all that happens.
            size: texts that are decoded at a time.
            patience_s: seconds that a text waits for others while the model is free.
        """
        self._backend = backend
        self._room = room
        self._listener = listener
        self._size = size
        self._patience_s = patience_s

    def go_on(self) -> None:
        """Decode what comes until the room is closed."""
        while texts := self._room.wait_for_batch(self._patience_s):
            settings = texts[0].settings
            failed = self._decode(_Batch(texts, self._size, self._joining(settings)), settings)
            for of_one_owner in failed:
                self._decode(_Batch(of_one_owner, self._size), settings)

    def _joining(self, settings: Settings) -> Callable[[], Waiting[Owner] | None]:
        """What takes further texts of these settings out of the room."""

        def joining() -> Waiting[Owner] | None:
            text = self._room.join(settings)
            if text is not None:
                self._listener.joined()
            return text

        return joining

    def _decode(self, batch: _Batch[Owner], settings: Settings) -> list[list[Waiting[Owner]]]:
        """Decode a batch until it is empty.

        Returns:
            Where the model failed on texts of several owners, the texts of each of them.
        """
        self._listener.begun()
        try:
            for task, outcome in self._backend.decode(batch.texts(), settings, self._size):
                text = batch.returned(task)
                self._listener.came(text.owner, text.index, outcome)
            if left := batch.left():
                raise ModelFault(f"nothing came of {len(left)} texts")
        except Exception as fault:
            left = batch.left()
            owners = list(dict.fromkeys(text.owner for text in left))
            if len(owners) > 1:
                return [[text for text in left if text.owner is owner] for owner in owners]
            for text in left[:1]:
                self._listener.came(text.owner, text.index, fault)
        return []


class _Batch(Generic[Owner]):
    """The texts that the model has, and those that are next."""

    def __init__(
        self,
        texts: Iterable[Waiting[Owner]],
        size: int,
        joining: Callable[[], Waiting[Owner] | None] = lambda: None,
    ) -> None:
        """Begin with some texts; `joining` gives further ones while there are any."""
        self._next = deque(texts)
        self._size = size
        self._joining = joining
        self._inside: dict[Waiting[Owner], None] = {}  # a set in order of arrival

    def texts(self) -> Iterator[Waiting[Owner] | None]:
        """What the model pulls: it ends when nothing is inside and nothing is there."""
        while True:
            # One that nobody wants any more leaves the model without coming back.
            self._inside = {text: None for text in self._inside if text.is_wanted}
            text = None
            if len(self._inside) < self._size:
                text = self._next.popleft() if self._next else self._joining()
            if text is None and not self._inside:
                return
            if text is None:
                yield None
            elif text.is_wanted:
                self._inside[text] = None
                yield text

    def returned(self, task: Task) -> Waiting[Owner]:
        """The text of a task that has come back."""
        assert isinstance(task, Waiting), "the model gives back what it was given"
        self._inside.pop(task, None)
        return task

    def left(self) -> list[Waiting[Owner]]:
        """Texts that somebody waits for and that have not come back."""
        return [text for text in (*self._inside, *self._next) if text.is_wanted]
