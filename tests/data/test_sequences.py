"""Splits, chunks, batches and the simulator."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kt_core.base.errors import KTError
from kt_core.config import DataConfig
from kt_core.data import Dataset, Sequences, Vocabulary, make_splits
from kt_core.data.batches import LengthBuckets, SequenceDataset, loader
from kt_core.data.simulate import Simulation, simulate


def long_table(lengths, skills=3):
    rng = np.random.default_rng(0)
    user = np.repeat([f"u{i}" for i in range(len(lengths))], lengths)
    return pd.DataFrame(
        {
            "user": user,
            "skill": rng.integers(skills, size=len(user)).astype(str),
            "correct": rng.integers(2, size=len(user)),
        }
    )


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(3, 12))
def test_chunks_hold_every_row_once_and_in_order(lengths, chunk):
    table = long_table(lengths)
    s = Sequences.of(table, Vocabulary.of(table), chunk, min_length=3)
    want = []
    for _, part in table.groupby("user", sort=False):
        for begin in range(0, len(part), chunk):
            cut = part[begin : begin + chunk]
            if len(cut) >= 3:
                want.append((part["user"].iloc[0], begin // chunk, cut["correct"].tolist()))
    got = [
        (s.learners[s.learner[i]], s.chunk[i], s.response[s.starts[i] :][: s.lengths[i]].tolist())
        for i in range(len(s))
    ]
    assert got == want


def test_no_learner_is_in_two_splits_and_none_is_lost():
    data = Dataset("x", long_table([10] * 60))
    splits = make_splits(data, DataConfig())
    groups = [set(getattr(splits, name).learners) for name in ("train", "valid", "test")]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 60
    assert len(groups[2]) == 12
    again = make_splits(data, DataConfig())
    assert list(again.train.learners) == list(splits.train.learners)
    other = make_splits(data, DataConfig(fold=1))
    assert set(other.test.learners) == groups[2] and set(other.valid.learners) != groups[1]


def test_folds_of_the_data_are_kept_and_checked():
    table = long_table([5, 5, 5])
    table["fold"] = np.repeat([0, 1, -1], 5)
    splits = make_splits(Dataset("x", table), DataConfig())
    assert [list(p.learners) for p in (splits.train, splits.valid, splits.test)] == [
        ["u1"],
        ["u0"],
        ["u2"],
    ]
    table.loc[0, "fold"] = 1
    with pytest.raises(KTError, match=r"learner 'u0' is in the folds \[0, 1\]"):
        make_splits(Dataset("x", table), DataConfig())
    with pytest.raises(KTError, match="no fold 4"):
        make_splits(Dataset("x", table.assign(fold=np.repeat([0, 1, -1], 5))), DataConfig(fold=4))


def test_folds_without_a_test_split_give_the_next_fold_to_it():
    table = long_table([5, 5, 5, 5])
    table["fold"] = np.repeat([0, 1, 2, 3], 5)
    splits = make_splits(Dataset("x", table), DataConfig(fold=3))
    got = [list(p.learners) for p in (splits.train, splits.valid, splits.test)]
    assert got == [["u1", "u2"], ["u3"], ["u0"]]


def test_learners_without_a_chunk_are_not_counted():
    table = long_table([5, 2, 4])
    s = Sequences.of(table, Vocabulary.of(table))
    assert list(s.learners) == ["u0", "u2"] and s.learner.tolist() == [0, 1]


def test_skills_the_model_does_not_know():
    with pytest.raises(KTError, match="skill '9' is not one of the 2 skills"):
        Vocabulary(("1", "2")).ids(pd.Series(["1", "9"]))


def test_too_little_data_for_three_splits():
    with pytest.raises(KTError, match="no sequence of at least 3 steps for the train split"):
        make_splits(Dataset("x", long_table([10, 10])), DataConfig())


@given(st.lists(st.integers(3, 200), min_size=1, max_size=60), st.integers(0, 3))
def test_buckets_deal_every_sequence_once_per_epoch(lengths, epoch):
    lengths = np.array(lengths)
    sampler = LengthBuckets(lengths, 500, shuffle=True, seed=1)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert sorted(i for b in batches for i in b) == list(range(len(lengths)))
    for b in batches:
        assert len(b) == 1 or len(b) * lengths[b].max() <= 500 * 1.6


def test_buckets_save_padding_and_change_by_epoch():
    lengths = np.clip(np.random.default_rng(0).lognormal(3, 1, 2000).astype(int), 3, 200)
    sampler = LengthBuckets(lengths, 4096, shuffle=True)
    padded = sum(len(b) * lengths[b].max() for b in sampler)
    assert lengths.sum() / padded > 0.8
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first and len(list(sampler)) == len(first)


def test_a_batch_is_its_sequences_and_zeros(smoke):
    _, splits = smoke
    s = splits.train
    batch = SequenceDataset(s)[[3, 0]]
    for row, i in enumerate((3, 0)):
        n = s.lengths[i]
        assert batch.valid[row].sum() == n
        at = slice(s.starts[i], s.starts[i] + n)
        assert batch.skills[row, :n].tolist() == s.skill[at].tolist()
        assert batch.responses[row, :n].tolist() == s.response[at].tolist()
        assert batch.skills[row, n:].sum() == 0
    assert sum(int(b.valid.sum()) for b in loader(s, 512)) == s.interactions


def test_simulated_truth():
    spec = Simulation(learners=300)
    table = simulate(spec).table
    pd.testing.assert_frame_equal(table, simulate(spec).table)
    assert (table["true_gain"] >= 0).all()
    assert (table["true_mastery"] >= table["true_before"]).all()
    pairs = table.groupby(["user", "skill"])
    rises = (pairs["true_before"].shift(-1) >= table["true_mastery"] - 1e-12).dropna()
    assert rises[pairs["true_before"].shift(-1).notna()].all()
    # easy items are answered right more often than mastery alone predicts, hard ones less often
    assert abs(table["correct"].mean() - table["true_before"].mean()) < 0.02
    assert np.corrcoef(table["true_before"], table["correct"])[0, 1] > 0.3


def test_negative_controls():
    still = simulate(Simulation(learners=100, growth=0.0)).table
    assert (still["true_gain"] == 0).all()
    forgetting = simulate(Simulation(learners=100, forgetting=0.06)).table
    pairs = forgetting.groupby(["user", "skill"])
    came_back = pairs["timestamp"].shift(-1) > forgetting["timestamp"] + 1
    fell = pairs["true_before"].shift(-1) < forgetting["true_mastery"] - 1e-9
    assert came_back.sum() > 100
    assert fell[came_back].mean() > 0.95 and not fell[~came_back].any()
