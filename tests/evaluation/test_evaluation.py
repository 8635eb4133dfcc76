"""Evidence, measures and verdicts, on data whose answer is known."""

import copy
import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import module_of, stir
from scipy.stats import pearsonr
from sklearn.metrics import roc_auc_score

from kt_core.base.errors import KTError
from kt_core.baselines.ladder import Ladder
from kt_core.config import ModelConfig, with_overrides
from kt_core.data import Dataset, Sequences, Vocabulary
from kt_core.data.registry import load_dataset, read_splits
from kt_core.evaluation.diagnostics import conduct_table
from kt_core.evaluation.evaluate import evaluate
from kt_core.evaluation.measures import association_table, measure
from kt_core.evaluation.recovery import recovery_table
from kt_core.evaluation.tracer import from_mastery
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.model import GainAKT2
from kt_core.notebook.page import show
from kt_core.report.examine import examine, training_rates
from kt_core.report.tables import (
    association_text,
    comparison,
    headline,
    metrics_dict,
    over_learners,
    simple_text,
)
from kt_core.report.verdicts import _violation, _word, verdicts
from kt_core.runs.find import open_run


@pytest.fixture(scope="module")
def examined(trained):
    return examine(trained.path)


def sequences(chunk=200, lengths=(25, 7, 12, 40), seed=0):
    rng = np.random.default_rng(seed)
    user = np.repeat([f"u{i}" for i in range(len(lengths))], lengths)
    table = pd.DataFrame(
        {
            "user": user,
            "skill": rng.integers(4, size=len(user)).astype(str),
            "correct": rng.integers(2, size=len(user)),
        }
    )
    return Sequences.of(table, Vocabulary(("0", "1", "2", "3")), chunk)


def model(mode="cumulative"):
    torch.manual_seed(0)
    return stir(GainAKT2(ModelConfig(mode=mode, d_model=16, heads=2, blocks=1, d_ff=16), 4))


def one_by_one(net, s, i, start=None):
    at = slice(s.starts[i], s.starts[i] + s.lengths[i])
    q, r = torch.tensor(s.skill[at])[None], torch.tensor(s.response[at])[None]
    with torch.no_grad():
        return q[0], r[0], net.forward_with_states(q, r, start=start)


def test_intervals_of_few_learners_come_with_a_warning():
    assert over_learners(1234) == "95 % over 1,234 learners"
    assert "93 of 100" in over_learners(12)


@pytest.mark.parametrize("mode", ["retrospective", "cumulative", "projection"])
def test_evidence_row_by_row(mode):
    net, s = model(mode), sequences()
    beliefs = evaluate(net, s)
    for i in range(len(s)):
        q, _, states = one_by_one(net, s, i)
        part = beliefs.frame[beliefs.frame["sequence"] == i].reset_index(drop=True)
        for t in range(len(q)):
            row = part.loc[t]
            assert row["mastery_post"] == pytest.approx(
                states.filtered[0, t, q[t]].item(), abs=1e-5
            )
            assert row["gain"] == pytest.approx(states.own_gains[0, t].item(), abs=1e-5)
            if t == 0:
                assert np.isnan(row["predicted"]) and np.isnan(row["mastery_pre"])
            else:
                p = torch.sigmoid(states.logits[0, t - 1]).item()
                assert row["predicted"] == pytest.approx(p, abs=1e-5)
                before = states.filtered[0, t - 1, q[t]].item()
                assert row["mastery_pre"] == pytest.approx(before, abs=1e-5)
            if t and mode == "retrospective":
                moved = states.belief[0, t, q[t]] - states.belief[0, t - 1, q[t]]
                assert row["revision"] == pytest.approx(moved.item(), abs=1e-4)
        np.testing.assert_allclose(beliefs.final[i], states.filtered[0, -1], atol=1e-5)
        half = len(q) // 2 - 1
        np.testing.assert_allclose(beliefs.middle[i], states.filtered[0, half], atol=1e-5)


def test_long_histories_continue_and_are_counted_across_the_seam():
    net, s = model(), sequences(chunk=10)
    beliefs = evaluate(net, s)
    pairs = beliefs.counts["monotonicity_n"].sum()
    seams = (s.chunk > 0).sum()
    assert seams > 3 and pairs == ((s.lengths - 1).sum() + seams) * 4
    assert beliefs.counts["monotonicity"].sum() == 0
    for i in np.flatnonzero(s.chunk > 0):
        start = torch.tensor(beliefs.final[i - 1])[None]
        _, _, states = one_by_one(net, s, i, start)
        np.testing.assert_allclose(beliefs.final[i], states.filtered[0, -1], atol=1e-5)


def test_the_mastery_path_reads_a_whole_history_but_is_judged_by_chunks():
    net, s = model("retrospective"), sequences(chunk=10)
    beliefs, whole = evaluate(net, s), evaluate(net, s.whole())
    assert (s.chunk > 0).sum() > 3
    first = beliefs.frame["step"] == 0
    assert beliefs.frame["predicted"].isna().equals(first)
    for name in ("mastery_post", "mastery_last", "gain", "gains_before"):
        np.testing.assert_allclose(beliefs.frame[name], whole.frame[name], atol=1e-5)
    pairs = beliefs.counts["monotonicity_n"].sum()
    assert pairs == (s.interactions - len(s.learners)) * 4
    assert beliefs.counts[["monotonicity", "bounds", "negative_gains"]].to_numpy().sum() == 0
    ends = np.append(s.chunk[1:] == 0, True)
    np.testing.assert_allclose(beliefs.final[ends], whole.final, atol=1e-5)


def test_what_mastery_alone_predicts_is_the_prediction_but_for_form():
    net, s = model("retrospective"), sequences()
    rows = evaluate(net, s).predicted
    again = from_mastery(rows["mastery_pre"], 0.0, rows["form"])
    np.testing.assert_allclose(rows["predicted"], again, atol=1e-9)
    assert (rows["form"] != 0).all()
    with torch.no_grad():
        for weight in net.heads.form.parameters():
            weight.zero_()
    table = conduct_table(evaluate(net, s), Bootstrap(len(s.learners), 20)).set_index("quantity")
    cost = table.loc["what that costs in AUC"]
    assert cost["value"] == cost["low"] == cost["high"] == 0
    beliefs = evaluate(net, s)
    rows = beliefs.predicted
    np.testing.assert_allclose(rows["predicted"], rows["mastery_pre"], atol=1e-12)
    side = evaluate(model("cumulative"), s)
    assert "gains_before" not in side.frame and "what that costs in AUC" in set(
        conduct_table(side, Bootstrap(len(s.learners), 20))["quantity"]
    )


@pytest.mark.parametrize("mode", ["retrospective", "cumulative"])
def test_weights_that_are_no_numbers_are_an_error(mode):
    net = model(mode)
    head = net.heads.correction if mode == "retrospective" else net.heads.predict[0]
    with torch.no_grad():
        head.weight.fill_(torch.nan)
    with pytest.raises(KTError, match="predictions are not finite"):
        evaluate(net, sequences())


def test_finite_weights_whose_predictions_are_not_are_an_error():
    net = model("retrospective")
    with torch.no_grad():
        for weight in net.parameters():
            weight.fill_(torch.finfo(weight.dtype).max)
    with pytest.raises(KTError, match="predictions are not finite"):
        evaluate(net, sequences())


def test_evaluation_does_not_depend_on_batches_or_order(monkeypatch):
    net, s = model(), sequences()
    want = evaluate(net, s)
    monkeypatch.setattr(module_of(evaluate), "reading_tokens", lambda device: 1)  # one at a time
    got = evaluate(net, s)
    pd.testing.assert_frame_equal(got.frame, want.frame, atol=1e-5)
    pd.testing.assert_frame_equal(got.counts, want.counts)


def test_evaluation_leaves_model_and_random_state_alone():
    net = model().train()
    state = torch.get_rng_state()
    evaluate(net, sequences())
    assert net.training and torch.equal(state, torch.get_rng_state())


def test_prospective_validity_by_hand():
    net, s = model(), sequences(lengths=(60, 50, 44, 70, 90, 31))
    beliefs = evaluate(net, s)
    table = association_table(beliefs, np.full(4, 0.5), Bootstrap(6, 20))
    x, y = [], []
    for i in range(len(s)):
        n, half = s.lengths[i], s.lengths[i] // 2
        later = slice(s.starts[i] + half, s.starts[i] + n)
        for k in range(4):
            asked = s.skill[later] == k
            if asked.sum() >= 3:
                x.append(beliefs.middle[i, k])
                y.append(s.response[later][asked].mean())
    own = table[(table.measure == "prospective validity, learner x skill")]
    own = own[(own.kind == "model") & (own.variant == "pooled")].iloc[0]
    assert own["value"] == pytest.approx(pearsonr(x, y)[0]) and own["entries"] == len(x)


def test_an_oracle_beats_the_nulls_and_noise_does_not(smoke):
    config, splits = smoke
    beliefs = evaluate(GainAKT2(config.model, 20), splits.train)
    rng = np.random.default_rng(0)
    frame = beliefs.frame
    oracle = dataclasses.replace(beliefs, frame=frame.assign(mastery_pre=frame["true_before"]))
    noise = dataclasses.replace(beliefs, frame=frame.assign(mastery_pre=rng.random(len(frame))))
    base = training_rates(splits)
    names = splits.vocabulary.skills

    def verdict(e):
        m = measure(e, base, names, 200)
        row = m.association("mastery-response")
        return row["value"], m.best_null("mastery-response")["gap_low"]

    value, gap = verdict(oracle)
    assert value > 0.3 and gap > 0
    value, gap = verdict(noise)
    assert abs(value) < 0.06 and gap < 0


def test_recovery_of_the_truth_itself(smoke):
    config, splits = smoke
    beliefs = evaluate(GainAKT2(config.model, 20), splits.train)
    truth = dataclasses.replace(
        beliefs,
        frame=beliefs.frame.assign(
            mastery_post=beliefs.frame["true_mastery"], mastery_last=beliefs.frame["true_mastery"]
        ),
    )
    table = recovery_table(truth, Bootstrap(len(beliefs.learners), 50))
    for _, part in table[table["predictor"] == "model"].groupby("sees"):
        part = part.set_index("quantity")
        assert part.loc["mastery, rank correlation", "value"] == pytest.approx(1)
        assert part.loc["mastery, RMSE", "value"] == 0
    assert part.loc["growth, mean by the truth's", "value"] == pytest.approx(1)
    without = beliefs.frame.drop(columns=["true_mastery"])
    none = dataclasses.replace(beliefs, frame=without)
    assert recovery_table(none, Bootstrap(3, 20)).empty


def test_verdict_words(examined):
    table = verdicts(examined).set_index("measure")
    assert table.loc["Mastery falls between steps", "verdict"] == "reached"
    assert table.loc["Mastery falls between steps", "kind"] == "guarantee"
    assert table.loc["Mastery falls between steps", "target"] == "0, guaranteed"
    assert _word(0.43, 0.41, 0.4) == "reached"
    assert _word(0.41, 0.39, 0.4).startswith("uncertain")
    assert _word(0.41, float("nan"), 0.4) == "uncertain: there is no interval"
    assert _word(0.35, 0.3, 0.4, 0.3) == "misses the target by 0.050, but not the minimum"
    assert _word(0.25, 0.2, 0.4, 0.3) == "misses the target by 0.150"
    assert _word(float("nan"), 0.4, 0.4) == "not defined on this data"
    for high, word in ((0.195, "reached"), (0.215, "uncertain")):
        counted = {"share": 0.19, "low": 0.17, "high": high, "broken": 19, "places": 100}
        m = copy.copy(examined.measures)
        m.violations = m.violations.assign(**counted)
        row = _violation(m, "monotonicity", 0.2, guaranteed=False)
        assert row["verdict"].startswith(word) and row["warns"] == (word != "reached")
    sees = table["sees"].to_dict()
    assert table.loc["mastery-prediction r, mean over skills", "target"] == "none"
    assert sees["gain-correctness r, pooled"] == "post"
    assert sees["prospective validity, learner x skill r, pooled"] == "pre"


def test_metrics_are_plain_json_and_the_same_twice(examined, trained):
    text = json.dumps(metrics_dict(examined), allow_nan=False)
    again = json.dumps(metrics_dict(examine(trained.path)), allow_nan=False)
    assert text == again
    assert "AUC" in headline(json.loads(text))


def test_one_class_is_not_defined_and_not_a_number(smoke, trained):
    _, splits = smoke
    right = dataclasses.replace(splits.test, response=np.ones_like(splits.test.response))
    m = measure(
        evaluate(trained.model, right),
        training_rates(splits),
        splits.vocabulary.skills,
        30,
    )
    assert np.isnan(m.quality("AUC")["value"])
    assert np.isnan(m.association("mastery-response")["value"])
    assert "not defined" in association_text(m)["model"].iloc[0]


def test_one_class_still_has_a_headline(examined):
    metrics = metrics_dict(examined)
    for row in metrics["prediction"]:
        row |= {"value": None, "low": None, "high": None}
    assert "not defined" in headline(metrics)


def test_only_runs_on_the_same_learners_are_compared(examined):
    table, shares = comparison([examined, examined])
    assert table["AUC minus the first run's"].tolist() == ["0.0000 [0.0000, 0.0000]"] * 2
    assert len(shares) == 6
    with pytest.raises(KTError, match="have other learners"):
        comparison([examined, dataclasses.replace(examined, split="valid")])


def test_expanded_data_is_called_inflated(examined):
    splits = dataclasses.replace(
        examined.splits, dataset=dataclasses.replace(examined.splits.dataset, inflated=True)
    )
    metrics = metrics_dict(dataclasses.replace(examined, splits=splits))
    assert metrics["inflated"] and "INFLATED" in headline(metrics)


def test_an_auc_that_nobody_has_reached_is_a_warning(examined):
    def word(auc, **data):
        valid = dataclasses.replace(examined.valid_auc, value=auc, low=auc - 0.005)
        config = with_overrides(examined.run.config, {"data.dataset": "assist2015"} | data)
        run = dataclasses.replace(examined.run, config=config)
        changed = dataclasses.replace(examined, run=run, valid_auc=valid)
        table = verdicts(changed).set_index("measure")["verdict"]
        return table.filter(like="AUC on").item()

    own = examined.measures.quality("AUC")["value"]
    assert own > 0.74 or word(0.73) == "reached"
    assert own > 0.74 or word(0.75).startswith("WARNING: 0.7500 on valid is above 0.74")
    assert word(0.75).startswith("WARNING: 0.7")
    assert word(0.75, **{"data.path": "assist2015.csv"}) == "reached"  # only called alike


def test_changed_data_is_refused(trained, monkeypatch):
    real = load_dataset

    def changed(*args):
        data = real(*args)
        return Dataset(data.name, data.table.iloc[5:].reset_index(drop=True))

    monkeypatch.setattr(module_of(read_splits), "load_dataset", changed)
    with pytest.raises(KTError, match="is not what this run was trained on"):
        open_run(trained.path)


def test_markup_in_names_is_shown_and_not_run():
    table = pd.DataFrame({"name": ["<script>alert(1)</script>"]})
    shown = show(table, "<b>caption</b>").data
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "<b>" not in shown


def test_simple_models_predict_the_same_answers(examined):
    rows, frame = examined.beliefs.predicted, examined.beliefs.frame
    ladder = Ladder.fit(examined.splits)
    traces = ladder.traces(examined.splits.test)
    said = {name: trace.predicted for name, trace in traces.items()}
    table = examined.measures.simple.set_index("predictor")
    for name, values in said.items():
        want = roc_auc_score(rows["correct"], values[rows.index])
        assert len(values) == len(frame) and table.loc[name, "value"] == pytest.approx(want)
    own = table.loc["model", "value"]
    assert own == examined.measures.quality("AUC")["value"]
    assert table.loc["BKT", "gap"] == pytest.approx(own - table.loc["BKT", "value"])
    shown = simple_text(examined.measures)
    assert list(shown["measure"]) == ["AUC"] and "BKT" in shown


@pytest.mark.parametrize(
    ("rungs", "words", "warns"),
    [
        ({"AFM": (0.01, 0.02, 0.70)}, "better than AFM (+0.0150", False),
        ({"AFM": (-0.01, 0.02, 0.70), "BKT": (0.1, 0.2, 0.6)}, "about as well as AFM (", False),
        ({"AFM": (-0.02, -0.01, 0.70)}, "worse than AFM (-0.0150 [-0.0200, -0.0100])", True),
        ({"BKT": (-0.02, -0.01, 0.70)}, "worse than BKT (-0.0150 [-0.0200, -0.0100]); le", True),
        ({"BKT": (-0.02, 0.01, 0.70)}, "about as well as BKT (", False),
        ({"BKT": (np.nan, np.nan, np.nan)}, "not defined on this data", False),
    ],
)
def test_a_simple_model_that_predicts_better_is_a_warning(examined, rungs, words, warns):
    rows = [examined.measures.simple.iloc[0].to_dict()]
    for name, (low, high, value) in rungs.items():
        rows.append({"kind": "rung", "predictor": name, "value": value, "gap_low": low})
        rows[-1] |= {"gap_high": high, "gap": (low + high) / 2}
    measures = dataclasses.replace(examined.measures, simple=pd.DataFrame(rows))
    table = verdicts(dataclasses.replace(examined, measures=measures)).set_index("measure")
    row = table.loc["AUC next to simple models"]
    assert row["verdict"].startswith(words) and row["warns"] == warns
    assert ("in steps" in row["verdict"]) == ("BKT" in words)
    nobody = dataclasses.replace(measures, simple=measures.simple[:1])
    table = verdicts(dataclasses.replace(examined, measures=nobody))
    assert "AUC next to simple models" not in set(table["measure"])
