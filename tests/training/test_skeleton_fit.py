"""The fit of the skeleton: what it finds in simulated learners whose truth is known."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from kt_core.config import ModelConfig, with_overrides
from kt_core.data import Dataset, loader, make_splits
from kt_core.data.registry import read_splits
from kt_core.evaluation.ceiling import posterior_mastery
from kt_core.evaluation.evaluate import evaluate
from kt_core.presets import preset
from kt_core.training import skeleton as module
from kt_core.training.module import new_model
from kt_core.training.skeleton import _better, fit_skeleton, some

SMALL = ModelConfig(d_model=16, heads=2, blocks=1, d_ff=16)


def fitted(world, learners, seed=0):
    overrides = {"data.dataset": world, "data.learners": learners}
    splits = read_splits(with_overrides(preset("smoke"), overrides))
    model = new_model(SMALL, splits).eval()
    return model, splits, fit_skeleton(model, splits, seed, 150)


@pytest.fixture(scope="module")
def house():
    return fitted("simulated", 800)


def test_the_house_is_recovered_nearly_as_well_as_possible(house):
    model, splits, tried = house
    frame = evaluate(model, splits.test, flips=False).frame
    table = splits.dataset.table
    table = table[table["user"].isin(splits.test.learners)].reset_index(drop=True)
    best = posterior_mastery(table, splits.dataset.simulation)["smooth"].to_numpy()
    truth = frame["true_mastery"].to_numpy()
    assert len(best) == len(truth)
    rmse = {
        name: np.sqrt(np.mean((x - truth) ** 2))
        for name, x in (("best", best), ("own", frame["mastery_last"]))
    }
    assert rmse["own"] < 1.08 * rmse["best"]
    assert spearmanr(frame["mastery_last"], truth)[0] > 0.95 * spearmanr(best, truth)[0]
    assert tried["without transfer"] > 0 and model.heads.skeleton.raw_transfer.max() <= 0


def test_nobody_learns_where_nothing_is_learnt():
    model, splits, _ = fitted("simulated-no-learning", 400)
    frame = evaluate(model, splits.test, flips=False).frame
    pairs = frame.groupby(["learner", "skill"])["mastery_last"]
    assert (pairs.last() - pairs.first()).mean() < 0.02


def test_transfer_is_found_where_there_is_some():
    model, _, tried = fitted("world-transfer", 600)
    assert tried["with transfer"] < tried["without transfer"] - 0.005
    shares, C = model.heads.skeleton.shares(), model.n_skills
    skill = torch.arange(C)
    following = [shares[skill, (skill + step) % C].mean().item() for step in (1, 2, 10)]
    assert following[0] > 0.3 and following[0] > following[1] > 0.05 > following[2]


def answered(n=400, steps=36, worth=1.2, seed=0):
    """Learners who answer items of four skills at random and learn only the items."""
    rng = np.random.default_rng(seed)
    ability, rows = rng.normal(0, 1, n), []
    for learner in range(n):
        met = set()
        for _ in range(steps):
            skill, item = rng.integers(4), rng.integers(5)
            known = worth * ((skill, item) in met)
            right = rng.random() < 1 / (1 + np.exp(-ability[learner] - known + (item - 2) / 4))
            rows.append((str(learner), f"s{skill}", f"i{item}", int(right)))
            met.add((skill, item))
    return pd.DataFrame(rows, columns=["user", "skill", "item", "correct"])


def fitted_to(table, repeats=True):
    splits = make_splits(Dataset("own", table), preset("smoke").data)
    model = new_model(dataclasses.replace(SMALL, repeats=repeats), splits).eval()
    return model, splits, fit_skeleton(model, splits, 0, 150)


def test_what_stays_with_the_items_is_found_and_is_no_mastery():
    model, splits, tried = fitted_to(answered())
    assert tried["with repeats"] < tried["without repeats"] - 0.005
    once, more = model.difficulty.repeat.tolist()
    assert once == pytest.approx(1.2, abs=0.25) and abs(more) < 0.25
    without, _, untried = fitted_to(answered(), repeats=False)
    assert "with repeats" not in untried and not without.difficulty.repeats
    grown = []
    for m in (model, without):
        pairs = evaluate(m, splits.test, flips=False).frame.groupby(["learner", "skill"])
        grown.append((pairs["mastery_last"].last() - pairs["mastery_last"].first()).mean())
    assert grown[0] < 0.02 and grown[1] > 0.05  # nobody learns a skill


def test_items_that_come_back_after_wrong_answers_are_not_harder_for_that():
    rng, rows = np.random.default_rng(0), []
    for learner in range(400):
        own, item, right = rng.normal(0, 1.5, 20), 0, True
        for _ in range(30):
            item = rng.integers(20) if right else item
            right = rng.random() < 1 / (1 + np.exp(-own[item]))
            rows.append((str(learner), f"s{item // 5}", f"i{item}", int(right)))
    table = pd.DataFrame(rows, columns=["user", "skill", "item", "correct"])
    model, _, tried = fitted_to(table)
    assert tried["with repeats"] < tried["without repeats"] - 0.005  # it would predict better
    assert not model.difficulty.repeats


def test_nothing_stays_with_items_where_skills_are_learnt(house):
    model, _, tried = house
    assert "with repeats" in tried and not model.difficulty.repeats
    assert not model.difficulty.repeat.requires_grad


def test_items_and_skills_are_told_apart_only_where_both_are_met_again():
    table = answered(20)
    assert told_apart(table)
    assert not told_apart(table.assign(item=table["skill"]))  # one item a skill
    assert not told_apart(table.assign(item=[f"i{i}" for i in range(len(table))]))
    assert not told_apart(table.groupby(["user", "skill"]).head(1).copy())


def told_apart(table):
    splits = make_splits(Dataset("own", table), preset("smoke").data)
    return module.told_apart(some(splits.train))


def test_the_same_seed_finds_the_same_bytes(house, monkeypatch):
    monkeypatch.setattr(module, "EPOCHS", 1)
    _, splits, _ = house
    first, again = (new_model(SMALL, splits) for _ in range(2))
    for model in (first, again):
        fit_skeleton(model, splits, 3, 10)
    for name, value in first.heads.skeleton.state_dict().items():
        assert torch.equal(value, again.heads.skeleton.state_dict()[name]), name
    assert torch.equal(first.difficulty.raw, again.difficulty.raw)


def test_the_network_may_train_difficulties_and_not_the_skeleton(house):
    model, _, _ = house
    assert model.difficulty.raw.requires_grad
    assert not any(p.requires_grad for p in model.heads.skeleton.parameters())
    assert all(p.grad is None for p in model.heads.skeleton.parameters())


def test_losses_are_of_all_answers_but_the_first(house):
    model, splits, tried = house
    total, count = 0.0, 0
    for batch in loader(splits.valid.whole(), 4096):
        d = model.difficulty(batch.items)
        p = model.heads.skeleton.read(batch.skills, batch.responses, d).logits.sigmoid()
        said = torch.where(batch.responses == 1, p, 1 - p)[:, 1:][batch.valid[:, 1:]]
        total, count = total - said.log().sum().item(), count + said.numel()
    assert total / count == pytest.approx(tried["without transfer"], rel=1e-5)


def test_few_answers_and_long_histories_are_cut(house, monkeypatch):
    splits = house[1]
    monkeypatch.setattr(module, "MOST_ANSWERS", 2000)
    monkeypatch.setattr(module, "MOST_STEPS", 15)
    few = some(splits.train)
    assert 0.5 * 2000 < few.interactions == few.lengths.sum() < 1.5 * 2000
    assert few.lengths.max() == 15 and len(np.unique(few.learner)) < len(splits.train.learners)
    ends = few.starts + few.lengths
    assert few.starts[0] == 0 and ends[-1] == few.interactions
    np.testing.assert_array_equal(few.starts[1:], ends[:-1])
    whole = few.chunk == 0
    assert ((few.lengths == 15) | np.append(whole[1:], True)).all()  # only last pieces are shorter


def test_better_means_better_than_chance():
    rng = np.random.default_rng(0)
    before = [rng.random(20) for _ in range(100)]
    noise = [x + rng.normal(0, 0.5) for x in before]
    assert not _better(list(noise), before)
    assert _better([x - 0.2 for x in noise], before)
