"""SIGTERM ends a command as Ctrl-C does, with its clean-up."""

import os
import signal
import time

import pytest

from kt_core.base.signals import Sigterm


def test_sigterm_is_an_interrupt_and_a_second_one_leaves_the_clean_up_alone():
    before = signal.getsignal(signal.SIGTERM)
    cleaned = []
    with Sigterm() as sigterm, pytest.raises(KeyboardInterrupt):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            cleaned.append(sigterm.came)
    assert cleaned == [True] and signal.getsignal(signal.SIGTERM) == before
