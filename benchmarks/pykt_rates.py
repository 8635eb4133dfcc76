"""Training rates of the published pyKT package, by its own loader, loss and loop.

It is an extra, never a dependency. Its requirements name versions that clash with today's, so that
`INSTALL` installs it without them.

Two things are done to it. Its loader asks for tensors on a GPU and fails without one, so that it
gets those of the processor. And its training loop is timed from outside, by a loader that looks at
the clock.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils.data import DataLoader

from kt_core.data import Splits
from kt_core.data.sequences import Sequences
from kt_core.recurrent import Shape

INSTALL = ".venv/bin/pip install --no-deps pykt-toolkit==0.0.38 entmax==1.3 wandb==0.31.0"
STEPS = 200  # pyKT pads every sequence to as many, and trains on batches of so many sequences
BATCH = {"dkt": 256, "sakt": 256, "akt": 64}  # 256 sequences of AKT take more than 8 GiB
LEARNERS = {"sakt": 1024, "akt": 256}  # at most: their rates are the same with more, and slow
PAD = -1


def installed() -> bool:
    """Whether the package is there."""
    return find_spec("pykt") is not None


class Timed:
    """Batches of a loader, and the seconds from the first to the last step on them."""

    def __init__(self, loader: DataLoader) -> None:
        self.loader, self.seconds = loader, 0.0

    def __iter__(self) -> Iterator[Any]:
        started = time.perf_counter()
        yield from self.loader
        self.seconds = time.perf_counter() - started


def train_rate(model: str, splits: Splits, epochs: int = 2) -> float:
    """Interactions per second in the last epoch of one of pyKT's models (`dkt`, `sakt`, `akt`), as
    wide as ours in the comparison."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # its syntax, and tensors made by the list
        import pykt.datasets.data_loader as theirs
        from pykt.models import init_model, train_model

        theirs.LongTensor, theirs.FloatTensor = torch.LongTensor, torch.FloatTensor
        torch.manual_seed(0)
        training = splits.train.sample(LEARNERS.get(model, len(splits.train.learners)))
        shape = Shape()
        d, dropout, heads, blocks = shape.width, shape.dropout, shape.heads, shape.blocks
        shared = {"dropout": dropout, "num_attn_heads": heads}
        settings: dict[str, dict[str, Any]] = {
            "dkt": {"emb_size": d, "dropout": dropout},
            "sakt": shared | {"emb_size": d, "num_en": blocks, "seq_len": STEPS},
            "akt": shared | {"d_model": d, "n_blocks": blocks, "d_ff": 2 * d},
        }
        with tempfile.TemporaryDirectory() as folder:
            loaders = []
            for part in (training, splits.valid):
                file = Path(folder) / f"{len(loaders)}.csv"
                as_theirs(part).to_csv(file, index=False)
                data = theirs.KTDataset(str(file), ["concepts"], {0})
                loaders.append(DataLoader(data, batch_size=BATCH[model]))
            timed = Timed(loaders[0])
            names = {"num_c": len(splits.vocabulary.skills), "num_q": 0, "emb_path": ""}
            network = init_model(model, settings[model], names, "qid")
            optimiser = torch.optim.Adam(network.parameters(), 1e-3)
            train_model(network, timed, loaders[1], epochs, optimiser, folder)
    return training.interactions / timed.seconds


def as_theirs(part: Sequences) -> pd.DataFrame:
    """Sequences as pyKT's files have them: a row for each, padded, all in fold 0."""
    rows = []
    for start, length in zip(part.starts, part.lengths, strict=True):  # a chunk is one sequence
        steps, rest = slice(start, start + length), [PAD] * (STEPS - length)
        columns = {
            "concepts": part.skill[steps].tolist() + rest,
            "responses": part.response[steps].astype(int).tolist() + rest,
            "selectmasks": [1] * length + rest,
        }
        rows.append({"fold": 0} | {k: ",".join(map(str, v)) for k, v in columns.items()})
    return pd.DataFrame(rows)
