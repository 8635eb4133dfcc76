"""Answers hidden from the belief: what is scored, and whether gains are needed."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import stir

from kt_core.base.errors import KTError
from kt_core.config import ModelConfig
from kt_core.data import Sequences, Vocabulary
from kt_core.evaluation.masked import FOLDS, gain_necessity, hidden_answers
from kt_core.layers import HIDDEN
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.model import GainAKT2


def model(mode="retrospective"):
    torch.manual_seed(0)
    return stir(GainAKT2(ModelConfig(mode=mode, d_model=16, heads=2, blocks=1, d_ff=16), 4))


def sequences(seed=0, lengths=(23, 9, 31, 27), chunk=10):
    rng = np.random.default_rng(seed)
    user = np.repeat([f"u{i}" for i in range(len(lengths))], lengths)
    columns = {"skill": rng.integers(4, size=len(user)).astype(str)}
    columns["correct"] = rng.integers(2, size=len(user))
    table = pd.DataFrame({"user": user, **columns})
    return Sequences.of(table, Vocabulary(("0", "1", "2", "3")), chunk)


def test_what_is_believed_of_an_answer_never_depends_on_it():
    net, s = model(), sequences()
    frame = hidden_answers(net, s)
    assert len(frame) == s.interactions and frame.notna().all().all()
    for row in (0, 17, 40, len(frame) - 1):
        other = s.response.copy()
        other[row] = 1 - other[row]
        changed = hidden_answers(net, Sequences(**vars(s) | {"response": other}))
        for name in ("believed", "gains_before", "flat", "shuffled"):
            assert changed[name][row] == pytest.approx(frame[name][row], abs=1e-5), name
        moved = (changed["believed"] - frame["believed"]).abs()
        assert (moved > 1e-5).any()  # it is seen where others are hidden


def test_believed_is_the_trajectory_at_the_end_with_a_fifth_hidden(monkeypatch):
    net, s = model(), sequences(chunk=50)
    monkeypatch.setattr(
        "kt_core.evaluation.masked._folds", lambda whole, seed: np.arange(90) % FOLDS
    )
    frame = hidden_answers(net, s)
    q, r = (torch.tensor(x[:23])[None] for x in (s.skill, s.response))
    for number in range(FOLDS):
        mask = (torch.arange(23) % FOLDS == number)[None]
        with torch.no_grad():
            states = net.forward_with_states(q, torch.where(mask, HIDDEN, r))
            belief = states.belief[0, -1, q[0]]
        for t in torch.nonzero(mask[0]).flatten().tolist():
            gains_before = states.gains[0, :t, q[0, t]].sum().item()  # some by transfer
            assert frame["gains_before"][t] == pytest.approx(gains_before, abs=1e-5)
            assert frame["believed"][t] == pytest.approx(belief[t].item() + gains_before, abs=1e-5)


def table(rng, learners=300, steps=24, believed=None, **columns):
    learner = np.repeat(np.arange(learners), steps)
    step = np.tile(np.arange(steps), learners)
    frame = pd.DataFrame({"learner": learner, "step": step, "skill": (step // 4) % 3})
    frame["believed"] = rng.normal(0.5, 1, len(frame)) if believed is None else believed(frame)
    for name, value in columns.items():
        frame[name] = value
    return frame


def test_gains_that_are_true_are_needed_and_made_up_ones_are_not():
    rng = np.random.default_rng(0)
    frame = table(rng)
    gains_before = 0.15 * frame.groupby(["learner", "skill"]).cumcount()
    frame = frame.assign(
        gains_before=gains_before,
        shuffled=rng.permutation(gains_before),
        believed=gains_before - 0.5,
    )
    frame["flat"] = frame.groupby(["learner", "skill"])["gains_before"].transform("mean")
    for truth, needed in ((frame["believed"], True), (frame["believed"] - gains_before, False)):
        p = 1 / (1 + np.exp(-truth))
        frame["correct"] = (rng.random(len(frame)) < p).astype(int)
        result = gain_necessity(frame, Bootstrap(300, 200)).set_index("quantity")
        differences = result.drop("log loss, gains as they are")
        assert (differences["low"] > 0).all() == needed
        none = result.loc["no gains, minus as they are"]
        if not needed:
            assert none["high"] < 0


def test_other_modes_have_nothing_to_hide():
    with pytest.raises(KTError, match="mode 'cumulative' has no belief"):
        hidden_answers(model("cumulative"), sequences())
