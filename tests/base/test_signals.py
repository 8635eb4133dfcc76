"""SIGTERM ends a command as Ctrl-C does, with its clean-up and the processes it has started."""

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from kt_core.base.signals import Sigterm, call


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


def test_a_child_is_asked_to_end_and_may_clean_up(tmp_path):
    child = (
        "import pathlib, sys, time\nfrom kt_core.base.signals import Sigterm\n"
        "with Sigterm():\n    try:\n        pathlib.Path(sys.argv[1], 'begun').touch()\n"
        "        time.sleep(60)\n"
        "    finally:\n        pathlib.Path(sys.argv[1], 'cleaned').touch()\n"
    )
    parent = (
        "import os, sys\nfrom kt_core.base.signals import Sigterm, call\n"
        f"with Sigterm():\n    call([sys.executable, '-c', {child!r}, sys.argv[1]], os.environ)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", parent, str(tmp_path)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    while not (tmp_path / "begun").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)
    assert (tmp_path / "cleaned").exists()


def test_what_a_command_prints_comes_back():
    code = "import sys; print('out'); print('errors', file=sys.stderr); sys.exit(3)"
    done = call([sys.executable, "-c", code], dict(os.environ))
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "errors\n")
