"""What one learner's long history costs: time and memory by its length, and of each live answer.

python benchmarks/long_histories.py --answers 2000 10000 50000
python benchmarks/long_histories.py --modes retrospective --answers 1000000 --only predict

Models have d_model 128, 8 heads, 2 blocks and 100 skills, and are not trained, which costs the
same. Each row is a process of its own: *memory* is what the call adds to it at most. `--only whole`
reads a history as one batch, the form that training uses.
"""

from __future__ import annotations

import argparse
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd
import torch

from kt_core.config import ModelConfig
from kt_core.data import Sequences
from kt_core.evaluation.evaluate import evaluate, read_ends
from kt_core.model import GainAKT2
from kt_core.stepwise import PathSteps, SideSteps
from kt_core.studies.benchmark import markdown

MODES = ("projection", "cumulative", "retrospective", "retentive")
SKILLS, CHUNK, LIVE = 100, 200, 200  # LIVE: answers that are timed at the end of a history
WORK = ("predict", "report", "live", "whole")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modes", nargs="+", default=MODES, choices=MODES)
    parser.add_argument("--answers", type=int, nargs="+", default=[2000, 10_000, 50_000])
    parser.add_argument("--only", nargs="+", default=WORK[:3], choices=WORK)
    args = parser.parse_args()
    rows = []
    for work in args.only:
        for mode in args.modes:
            for answers in args.answers:
                with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                    rows.append(pool.submit(measured, work, mode, answers).result())
                print(rows[-1], flush=True)
    print(markdown(pd.DataFrame(rows)))


def measured(work: str, mode: str, answers: int) -> dict[str, object]:
    """Return a row: seconds (of an answer: milliseconds) and MiB."""
    torch.manual_seed(0)
    model, s = GainAKT2(ModelConfig(mode=mode), SKILLS).eval(), history(answers)
    before, began, spent = _memory(), time.perf_counter(), time.process_time()
    row: dict[str, object] = {"work": work, "mode": mode, "answers": answers}
    if work == "live":
        row["ms per answer"] = _live(model, s)
    elif work == "report":
        evaluate(model, s)
    elif work == "predict":
        read_ends(model, s)
    else:
        q, r = (torch.from_numpy(x)[None] for x in (s.skill, s.response))
        with torch.no_grad():
            model.forward_with_states(q, r)
    used = {"seconds": time.perf_counter() - began, "of processor": time.process_time() - spent}
    return row | used | {"memory, MiB": _memory() - before}


def history(answers: int) -> Sequences:
    """Return one learner with that many answers at random."""
    rng, chunks = np.random.default_rng(0), -(-answers // CHUNK)
    starts = np.arange(chunks) * CHUNK
    return Sequences(
        skill=rng.integers(SKILLS, size=answers),
        item=np.zeros(answers, np.int64),
        response=rng.integers(2, size=answers),
        starts=starts,
        lengths=np.minimum(CHUNK, answers - starts),
        learner=np.zeros(chunks, np.int64),
        chunk=np.arange(chunks),
        learners=np.array(["learner"]),
        truth={},
    )


def _live(model: GainAKT2, s: Sequences) -> float:
    """Milliseconds of processor time of each of the last answers."""
    live = PathSteps(model) if model.on_path else SideSteps(model, CHUNK)
    for n, (skill, response) in enumerate(zip(s.skill.tolist(), s.response.tolist(), strict=True)):
        if n == len(s.skill) - LIVE:
            began = time.process_time()
        live.add(skill, response, 0, None)
    return (time.process_time() - began) / LIVE * 1e3


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
