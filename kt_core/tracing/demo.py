"""A small finished run on simulated learners, to try everything without a training.

`make demo` makes it again (benchmarks/demo.py).
"""

from __future__ import annotations

from pathlib import Path

from kt_core.base.files import copy, make_folder
from kt_core.tracing.tracer import KnowledgeTracer, load
from kt_core.tracing.training import scratch

STORED = Path(__file__).parent / "demo_run"


def demo() -> KnowledgeTracer:
    """A model that is fitted already, on simulated learners.

    It is a copy in a temporary folder, which is removed when Python ends. Saved under a name, as by
    ``model.save("runs/demo")``, it is a run that notebooks and the command line open.

    Examples
    --------
    >>> model = kt.demo()
    >>> learner = model.mastery().loc[0, "learner"]
    >>> model.plot(learner).get_ylabel()
    'mastery'
    """
    folder = make_folder(scratch() / "demo")
    for file in STORED.iterdir():
        copy(file, folder / file.name)
    return load(folder)
