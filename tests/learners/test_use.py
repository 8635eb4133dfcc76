"""Using a model: predictions for new learners, step by step, explained, with an interval."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import beta

from kt_core.base.errors import KTError
from kt_core.base.files import write_table
from kt_core.cli.commands import main
from kt_core.data import Dataset, Simulation, make_splits, simulate
from kt_core.learners.explain import explain
from kt_core.learners.predict import LiveLearner, predict
from kt_core.plots.explanation import _bars
from kt_core.training.train import train
from kt_core.uncertainty import Uncertainty, coverage, fit_uncertainty


@pytest.fixture(scope="module")
def histories():
    return simulate(Simulation(learners=5, seed=3), "new")


def test_predictions_are_the_filtered_state_of_each_learner(trained, histories):
    result = predict(trained, histories)
    assert list(result)[:5] == ["learner", "skill", "mastery", "low", "high"]
    table = histories.table
    assert len(result) == len(table.groupby(["user", "skill"]))
    learner = table["user"].iloc[0]
    live, own = LiveLearner(trained), table[table["user"] == learner]
    for row in own.itertuples():
        live.answer(row.skill, row.correct, row.item)
    for row in result[result["learner"] == learner].itertuples():
        assert live.mastery(row.skill) == pytest.approx(row.mastery, abs=1e-5)
        assert row.low <= row.mastery <= row.high
        assert row.opportunities == (own["skill"] == row.skill).sum() and row.steps == len(own)
    every = predict(trained, histories, every_skill=True)
    assert len(every) == 5 * 20 and set(every["opportunities"]) >= {0}
    assert live.mastery().to_numpy() == pytest.approx(
        every.loc[every["learner"] == learner, "mastery"], abs=1e-5
    )


def test_one_answer_is_enough_and_no_answer_is_not(trained):
    live = LiveLearner(trained)
    with pytest.raises(KTError, match="no answers yet"):
        live.mastery("skill 03")
    with pytest.raises(KTError, match="no answers yet"):
        live.predict("skill 03")
    live.answer("skill 03", True)
    assert 0 < live.mastery("skill 03") < 1
    assert live.predict("skill 03") == pytest.approx(live.mastery("skill 03"), abs=1e-6)
    one = pd.DataFrame({"user": ["a"], "skill": ["skill 03"], "correct": [1]})
    result = predict(trained, Dataset("one", one))
    assert result["mastery"].item() == pytest.approx(live.mastery("skill 03"), abs=1e-6)
    with pytest.raises(KTError, match="skill 'magic' is not one of the 20 skills"):
        live.answer("magic", True)


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_tables_are_written_whole(tmp_path, name):
    table = pd.DataFrame({"learner": ["ä"], "mastery": [0.5]})
    path = write_table(table, tmp_path / name)
    read = pd.read_csv if name.endswith("csv") else pd.read_parquet
    pd.testing.assert_frame_equal(read(path), table, check_dtype=False)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    with pytest.raises(KTError, match=r"name it \.parquet or \.csv"):
        write_table(table, tmp_path / "m.xlsx")
    with pytest.raises(KTError, match="cannot be written"):
        write_table(table, tmp_path / "nowhere" / name)


def test_the_parts_sum_to_the_logit(trained, smoke):
    _, splits = smoke
    s, vocabulary = splits.test, splits.vocabulary
    learner = s.learners[0]
    steps = int(s.lengths[s.learner == 0].sum())
    for step in (2, steps // 2, steps):
        parts = explain(trained.model, s, vocabulary, learner, step)
        assert parts["logit"].sum() == pytest.approx(parts.attrs["logit"], abs=1e-5)
        gains = parts[parts["part"] == "gain"]
        assert (gains["logit"] > 0).all() and (gains["step"] < step).all()
        assert set(gains["skill"]) <= {parts.attrs["asked"]}
        assert (parts["part"] == "starting belief").sum() == 1
        assert _bars(parts, 8)["logit"].sum() == pytest.approx(parts.attrs["logit"], abs=1e-5)
        belief = parts[parts["part"].str.startswith("starting belief")]
        q, r, i = (torch.from_numpy(x[:steps])[None] for x in (s.skill, s.response, s.item))
        states = trained.model.forward_with_states(
            q[:, : step - 1], r[:, : step - 1], i[:, : step - 1]
        )
        want = states.belief[0, -1, q[0, step - 1]].item()
        assert belief["logit"].sum() == pytest.approx(want, abs=1e-5)
        on_skill = np.flatnonzero(s.skill[: step - 1] == s.skill[step - 1]) + 1
        assert belief["step"].tolist() == [0, *on_skill] and gains["step"].tolist() == [*on_skill]
    with pytest.raises(KTError, match=f"has predicted answers 2 to {steps}"):
        explain(trained.model, s, vocabulary, learner, 1)
    with pytest.raises(KTError, match="learner 'nobody' is not in this split"):
        explain(trained.model, s, vocabulary, "nobody", 2)


def test_the_spread_of_beta_distributed_learners_is_found():
    rng = np.random.default_rng(0)
    learners, steps, k = 3000, 5, 6.0
    m = rng.uniform(0.3, 0.9, learners)
    true = rng.beta(m * k, (1 - m) * k)
    frame = pd.DataFrame(
        {
            "sequence": np.repeat(np.arange(learners), steps),
            "learner": np.repeat(np.arange(learners), steps),
            "skill": 0,
            "step": np.tile(np.arange(steps), learners),
            "opportunity": np.tile(np.arange(steps), learners),
            "correct": (rng.random((learners, steps)) < true[:, None]).astype(int).ravel(),
        }
    )
    first = frame["step"] == 0
    frame["mastery_pre"] = np.where(first, np.repeat(m, steps), np.nan)  # a state before answers
    uncertainty = fit_uncertainty(frame)
    fitted = uncertainty.concentration(np.array([0]), np.array([0]))[0]
    assert fitted == pytest.approx(k, rel=0.15)
    low, high = uncertainty.interval(m, np.zeros(learners), np.zeros(learners))
    held = ((true >= low) & (true <= high)).mean()
    assert held == pytest.approx(0.95, abs=0.02)
    one = frame.assign(mastery_post=0.5, true_mastery=0.5)
    assert coverage(one, uncertainty).all()


def test_intervals_are_quantiles_that_hold_the_value():
    uncertainty = Uncertainty((np.log(10.0), 0.0, 0.0))
    low, high = uncertainty.interval(np.array([0.5, 0.0, 1.0]), np.zeros(3), np.zeros(3))
    assert (low[0], high[0]) == pytest.approx(beta.ppf([0.025, 0.975], 5, 5))
    assert low[1] == 0 and high[2] == 1 and (low <= high).all()


def test_one_answer_per_skill_teaches_no_spread(smoke, tmp_path):
    config, splits = smoke
    once = splits.dataset.table.drop_duplicates(["user", "skill"]).reset_index(drop=True)
    exam = make_splits(Dataset("exam", once), config.data)
    run = train(config, exam, tmp_path / "exam")
    assert run.uncertainty is None and not (run.path / "uncertainty.json").exists()
    assert "low" not in predict(run, Dataset("exam", once))


def test_predict_from_the_command_line(trained, histories, tmp_path, capsys):
    table = histories.table[["user", "skill", "correct", "item"]]
    table.rename(columns={"user": "Student"}).to_csv(tmp_path / "a.csv", index=False)
    data, out = str(tmp_path / "a.csv"), str(tmp_path / "m.parquet")
    call = ["predict", str(trained.path), "--data", data, "--out", out]
    assert main([*call, "--column", "user=Student"]) == 0
    assert "5 learners" in capsys.readouterr().out
    pd.testing.assert_frame_equal(pd.read_parquet(out), predict(trained, histories), atol=1e-6)
    table.assign(skill="magic").to_csv(tmp_path / "a.csv", index=False)
    assert main(call) == 2
    assert "'magic' is not one of the 20 skills" in capsys.readouterr().err
