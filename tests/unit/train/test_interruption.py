"""Signals are noted, not obeyed at once; and handlers come back."""

from __future__ import annotations

import logging
import os
import signal

import pytest

from s2s_ft.train import interruption as module
from s2s_ft.train.interruption import SIGNALS, Interruption


def come(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted(number: int) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with Interruption() as interruption:
        assert interruption.signal is None
        come(number)
        assert interruption.signal == number
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_the_first_signal_counts() -> None:
    with Interruption() as interruption:
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
            come(number)
        assert interruption.signal == signal.SIGUSR1


@pytest.mark.parametrize("number", SIGNALS)
def test_what_a_launcher_passes_on_changes_nothing(number: int) -> None:
    """The system tells all processes, and torchrun tells its workers once more."""
    with Interruption() as interruption:
        come(number)
        come(number)
        assert interruption.signal == number


def test_a_late_second_interrupt_from_the_keyboard_is_obeyed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ECHO_SECONDS", 0.0)
    before = signal.getsignal(signal.SIGINT)  # ignored, where the tests run in the background
    with Interruption():
        come(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            come(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_handler_itself_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It may run in the middle of a line of the log, where nothing more can be written."""
    caplog.set_level(logging.INFO)
    with Interruption() as interruption:
        come(signal.SIGTERM)
        assert caplog.text == ""
        assert interruption.signal == signal.SIGTERM
        assert interruption.signal == signal.SIGTERM
    assert caplog.text.count("SIGTERM: finishing the update and saving") == 1
