"""Constraints compared by one command: what it trains, measures, refuses and leaves behind."""

import contextlib
import io
import json
import shutil
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from kt_core import plots
from kt_core.base.errors import KTError
from kt_core.base.files import write_json
from kt_core.cli.arguments import overrides_of, parser
from kt_core.cli.commands import ACTIONS, main
from kt_core.data.registry import read_splits
from kt_core.presets import configure
from kt_core.report import examine, metrics_dict
from kt_core.studies import cells, constraints
from kt_core.training.train import train

TINY = {"data.learners": 40, "train.epochs": 1, "report.bootstrap": 20}
SETTINGS = [word for name, value in TINY.items() for word in ("--set", f"{name}={value}")]
CALL = ["run", "--compare", "constraints", "--preset", "smoke", *SETTINGS]
PLAN = constraints.plan("smoke", overrides={name: str(value) for name, value in TINY.items()})


def called(*words):
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = main([*CALL, *map(str, words)])
    return code, out.getvalue(), errors.getvalue()


@contextlib.contextmanager
def at_once(jobs, threads, scheduler):
    """An executor without processes; test_sweeps.py has cells in processes of their own."""

    def submit(call, *arguments):
        future = Future()
        future.set_result(call(*arguments))
        return future

    yield submit, list


@pytest.fixture(scope="module")
def patched():
    trained = []

    def here(cell, out, threads, report):
        if cell.model == "cumulative" and not trained.count("stopped"):
            trained.append("stopped")
            raise KeyboardInterrupt
        folder = out / cell.folder
        train(cell.config, read_splits(cell.config), folder)
        write_json(folder / "metrics.json", metrics_dict(examine(folder)))
        trained.append(cell.model)
        return ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "_in_notebooks", here)
        patch.setattr(cells, "_executor", at_once)
        yield trained


@pytest.fixture(scope="module")
def compared(patched, tmp_path_factory):
    """The command, interrupted in the second training and called again."""
    out = tmp_path_factory.mktemp("compared")
    first = called("--out", out, "--name", "it")
    second = called("--out", out, "--name", "it")
    return out / "it", first, second, list(patched)


def test_one_command_trains_each_mode_once_and_goes_on_after_an_interruption(compared):
    folder, (stopped, _, said), (code, printed, errors), trained = compared
    assert stopped == 130 and said.endswith("interrupted: call it again to continue\n")
    assert code == 0, errors
    assert trained == ["projection", "stopped", "cumulative", "retrospective"]
    assert "3 cells, 1 of them finished before" in printed
    assert "projection: auxiliary losses non_negative 0.1, consistency 0.05" in printed
    assert "reported, unconstrained (*)" in printed and "not measured here" in printed
    for name in ("constraints.csv", "figures/constraints.png", "constraints.html"):
        assert str(folder / name) in printed and (folder / name).stat().st_size > 1000
    assert (folder / "figures" / "constraints.pdf").is_file()
    page = (folder / "constraints.html").read_text(encoding="utf-8")
    assert (
        "Validity within skill (pre)" in page and page.count("Left: bars for each constraint") == 1
    )


def test_the_numbers_are_those_of_each_run(compared):
    table = constraints.load(compared[0])
    for cell in PLAN:
        metrics = json.loads((compared[0] / cell.folder / "metrics.json").read_text())
        own = table[table["run"] == cell.folder].set_index(["measure", "variant"])
        assert len(own) == len(metrics["violations"]) + len(constraints.EVIDENCE)
        for row in metrics["violations"]:
            found = own.loc[row["constraint"], ""]
            for name, value in (("value", "share"), *((n, n) for n in ("broken", "places", "low"))):
                assert found[name] == pytest.approx(row[value], abs=0, rel=1e-12)
        auc = next(r for r in metrics["prediction"] if r["quality"] == "AUC")
        assert auc["predictor"] == "model" and own.loc["AUC", ""]["high"] == auc["high"]
        for variant in ("pooled", "within_skill"):
            key = constraints.PROSPECTIVE, variant
            rows = [a for a in metrics["associations"] if (a["measure"], a["variant"]) == key]
            assert own.loc[key]["value"] == next(r["value"] for r in rows if r["kind"] == "model")


def test_constraints_by_construction_are_never_broken_and_the_free_mode_breaks_them(compared):
    table = constraints.load(compared[0])
    own = table[table["measure"].isin(["monotonicity", "negative_gains", "bounds"])]
    own = own[own["run"] != ""]
    kept, free = own[own["guaranteed"] == "yes"], own[own["guaranteed"] == "no"]
    assert set(kept["model"]) == {"cumulative", "retrospective"}
    assert set(kept["broken"]) == {0} and set(kept["value"]) == {0.0} and kept["places"].min() > 0
    assert free["broken"].min() > 0 and set(free["model"]) == {"projection"}
    shown = constraints.text(table).set_index("measure")
    count = f"0 of {kept['places'].iloc[0]:,}"
    assert shown.loc["Mastery falls between steps", "cumulative"] == count
    assert shown.loc["Mastery outside [0, 1]", "reported, unconstrained (*)"] == "21.7%"
    assert shown.loc["AUC (pre)", "reported, unconstrained (*)"] == ""


def test_a_second_call_trains_nothing_and_leaves_the_same_bytes(compared, patched, monkeypatch):
    folder, trained = compared[0], len(patched)
    before = {name: (folder / name).read_bytes() for name in ("constraints.csv",)}
    before["figures/constraints.png"] = (folder / "figures" / "constraints.png").read_bytes()
    code, printed, errors = called("--out", folder.parent, "--name", "it")
    assert code == 0, errors
    assert "3 cells, 3 of them finished before" in printed and len(patched) == trained
    assert {name: (folder / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mode", "cumulative"], "projection, cumulative, retrospective: leave out --mode, or"),
        (["--set", "model.mode=cumulative"], "model.mode: projection, cumulative, retrospective"),
        (["--resume", "runs/x"], "continues by itself where it was stopped"),
        (["--end"], "without --resume and --end"),
        (["--split", "valid"], "leave out --split valid"),
        (["--dataset", "simulated", "--data", __file__], "give only one of them"),
        (["--loss", "path"], "mode projection: loss.forecast is not a term of mode 'projection'"),
        (["--set", "model.position=absolute"], "must be possible in each of projection, cumul"),
        (["--set", "train.epoch=3"], "did you mean 'train.epochs'"),
        (["--data", "gone.csv"], "gone.csv"),
        (["--name", "../up"], "letters, digits"),
    ],
)
def test_what_is_refused_leaves_nothing(tmp_path, words, said):
    code, _, errors = called("--out", tmp_path / "o", *words)
    assert code == 2 and said in errors and "Traceback" not in errors
    assert not (tmp_path / "o").exists()


def test_only_known_comparisons(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--compare", "colours"])
    assert "invalid choice: 'colours' (choose from" in capsys.readouterr().err


def test_a_folder_that_holds_something_else_is_refused(compared, monkeypatch):
    folder = compared[0]
    code, _, errors = called("--out", folder.parent, "--name", "it", "--seed", 1)
    assert code == 2 and "holds a comparison with other settings" in errors
    run = folder / PLAN[0].folder
    code, _, errors = called("--out", folder, "--name", run.name)
    assert code == 2 and f"{run} is a run; choose another --name" in errors
    monkeypatch.setattr(constraints, "data_checksums", lambda dataset: {"table": "other"})
    code, _, errors = called("--out", folder.parent, "--name", "it")
    assert code == 2 and "the data has changed since it was trained" in errors


def test_a_report_that_cannot_be_used_is_refused(compared, tmp_path):
    cell = PLAN[0]
    path = tmp_path / cell.folder / "metrics.json"
    path.parent.mkdir()
    shutil.copyfile(compared[0] / cell.folder / "metrics.json", path)
    metrics = json.loads(path.read_text())
    for changed, said in (
        (metrics | {"split": "valid"}, "measured on valid learners; make the report on test"),
        (metrics | {"violations": [{}]}, "not the measures of a run"),
    ):
        path.write_text(json.dumps(changed))
        with pytest.raises(KTError, match=said):
            constraints.collect([cell], tmp_path)
    assert not (tmp_path / "constraints.csv").exists()
    with pytest.raises(KTError, match="not the table of a comparison"):
        constraints.load(tmp_path)
    (tmp_path / "constraints.csv").write_text("measure,model\n")
    with pytest.raises(KTError, match="no column variant"):
        constraints.load(tmp_path)


def test_each_training_gets_the_settings_that_were_given(tmp_path):
    overrides = {"data.columns": '{"user": "Who\'s \\"it\\""}', "train.seed": "3", "loss": "bce"}
    plan = constraints.plan("quick", "", str(tmp_path / "a b.csv"), 1, 2, overrides)
    commands = parser("", ACTIONS)
    for cell, mode in zip(plan, constraints.MODES, strict=True):
        args = commands.parse_args(["train", *cell.arguments])
        given = (args.preset, args.dataset, args.data, args.mode, args.seed, args.fold)
        config = configure(*given, overrides_of(args) | {"train.progress": True})
        assert config == cell.config and config.model.mode == mode and config.train.seed == 3
        assert config.data.columns == {"user": 'Who\'s "it"'} and not config.loss.active
    assert len({cell.folder for cell in plan}) == 3
    assert constraints.usual_name(plan).startswith("constraints_quick_simulated_seed3_fold2")


@given(places=st.integers(1, 10**9), data=st.data())
def test_only_an_exact_zero_reads_as_zero(places, data):
    broken = data.draw(st.integers(0, places))
    value = broken / places
    row = {"value": value, "low": value, "high": value, "broken": broken, "places": places}
    said = constraints.broken_text(row)
    assert said.startswith("0 of ") == (broken == 0) and not said.startswith("0.00%")


def test_a_zero_is_a_word_in_the_figure(compared):
    table = constraints.load(compared[0])
    ax = plots.plot_broken(table, Figure().subplots())
    words = [text.get_text() for text in ax.texts]
    assert sum(word.startswith("0 of ") for word in words) >= 8 and "42.5%" in words
    assert len(words) == (table["broken"] >= 0).sum() + len(constraints.PUBLISHED)
    ax = plots.plot_evidence(table, "AUC", "", Figure().subplots())
    assert len(ax.texts) == len(constraints.MODES)
    nothing = table.assign(value=table["value"].where(table["model"] == constraints.REFERENCE))
    assert len(plots.plot_broken(nothing, Figure().subplots()).texts) == len(constraints.PUBLISHED)
    assert not plots.plot_evidence(nothing, "AUC", "", Figure().subplots()).texts
