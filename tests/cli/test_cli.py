"""The command line, the notebooks and what they leave behind, as a user meets them."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from conftest import ROOT, SECRET, decoded, needs_data

from kt_core import plots
from kt_core.base.errors import KTError
from kt_core.cli import commands as cli
from kt_core.cli import early
from kt_core.data import Simulation, simulate
from kt_core.data.pseudonyms import KEY, Pseudonyms
from kt_core.notebook import trainings
from kt_core.presets import PRESETS, configure
from kt_core.runs import resume as halfruns
from kt_core.tracing.demo import STORED

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def kt(*args):
    """Call the command line; its notebooks have processes of their own."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = cli.main([*map(str, args)])
    return code, out.getvalue(), errors.getvalue()


@pytest.fixture(scope="module", autouse=True)
def key():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY, SECRET)
        yield


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Arguments for a file with column names of its own, and skills that are scripts."""
    table = simulate(Simulation(learners=60)).table
    scripts = {skill: f"<script>alert('{skill}')</script>" for skill in table["skill"].unique()[:9]}
    names = {"user": "Wer", "skill": "Was", "correct": "Richtig"}
    path = tmp_path_factory.mktemp("own") / "mine.tsv"
    table.replace({"skill": scripts})[[*names]].rename(columns=names).to_csv(
        path, sep="\t", index=False
    )
    columns = [x for name, theirs in names.items() for x in ("--column", f"{name}={theirs}")]
    return ["--data", str(path), *columns, "--pseudonymise"]


@pytest.fixture(scope="module")
def out(own, tmp_path_factory):
    """A folder in which `run` was called once, as a process of its own, and what it printed."""
    folder = tmp_path_factory.mktemp("out")
    call = [sys.executable, "-m", "kt_core", "run", "--preset", "smoke", *own]
    call += ["--name", "first", "--out", str(folder)]
    done = subprocess.run(call, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_run_leaves_all_that_it_promises(out):
    folder, printed = out
    run = folder / "first"
    names = (
        "model.safetensors config.json history.csv monitor.csv metrics.json provenance.json "
        "report.html trajectories.html notebooks/01_train.ipynb "
        "notebooks/02_consistency_report.ipynb notebooks/03_mastery_trajectories.ipynb"
    )
    for name in names.split():
        assert (run / name).stat().st_size > 0, name
    figures = "associations calibration exam training trajectories heatmap cohort"
    for figure in figures.split():
        for kind in ("png", "pdf", "svg"):
            assert (run / "figures" / f"{figure}.{kind}").stat().st_size > 2000, figure
    there = {p.name + "/" * p.is_dir() for p in run.iterdir()}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = re.search(r"## What you get\n(.*?)\n## ", readme, re.DOTALL).group(1)
    told = {name for row in re.findall(r"^\| (`.*?) \|", table, re.M) for name in row.split(", ")}
    told = {name.strip("`") for name in told}
    assert there <= told and told - there == {"items.csv", "answers.parquet"}  # of other data
    pages = {page.name for page in (run / "interactive").iterdir()}
    assert pages == {"skills.html", "training.html", "trajectories.html"}
    for page in ("report.html", "trajectories.html"):
        links = re.findall(r'href="(interactive/[^"]+)"', (run / page).read_text(encoding="utf-8"))
        assert links and all((run / link).is_file() for link in links)
    assert sorted(p.name for p in folder.iterdir()) == ["first"]
    assert f"report:  {run / 'report.html'}" in printed and "epoch   2/2" in printed
    assert "AUC " in printed and ": reached" in printed
    metrics = json.loads((run / "metrics.json").read_text())
    broken = {v["constraint"]: v["broken"] for v in metrics["violations"]}
    broken = {name: n for name, n in broken.items() if not name.startswith("filtered")}
    assert broken == dict.fromkeys(broken, 0) and len(broken) == 4
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["command"].startswith("python -m kt_core run --preset smoke")
    assert provenance["seed"] == 0 and provenance["packages"]["torch"]


def test_report_needs_no_network_and_shows_no_code(out):
    folder, _ = out
    for name in ("report.html", "trajectories.html"):
        page = (folder / "first" / name).read_text()
        assert not re.search(r"""(?:src|href)\s*=\s*["'](?:https?:)?//""", page)
        assert "@import" not in page
        assert page.count("<script") == 1 and "// Each table can be copied" in page  # our own
        assert "import matplotlib" not in page and "Traceback" not in page
        assert page.count("data:image/svg+xml;base64") >= 4
        assert "<script>alert" not in page
        assert len(page) < 10_000_000
    contents = re.findall(r'<li><a href="#([^"]+)">', (folder / "first/report.html").read_text())
    page = (folder / "first/report.html").read_text()
    assert "&lt;script&gt;alert" in page
    assert len(contents) >= 8 and all(f'id="{anchor}"' in page for anchor in contents)


def test_no_file_of_a_pseudonymised_run_has_an_id(out):
    folder, printed = out
    ids = [f"L{i:05d}" for i in range(60)]
    names = Pseudonyms(SECRET).of(pd.Series(ids))
    texts = {p.relative_to(folder): decoded(p) for p in folder.rglob("*") if p.is_file()}
    shown = set()
    for path, text in texts.items():
        assert not [i for i in (*ids, SECRET) if i in text or i in printed], path
        shown |= {path.name} if any(name in text for name in names) else set()
    assert {"trajectories.svg", "trajectories.pdf"} & shown  # an id would have been found


def test_validate_and_visualise_a_saved_run(out):
    folder, _ = out
    run = folder / "first"
    before = (run / "metrics.json").read_bytes()
    figure = (run / "figures" / "associations.png").read_bytes()
    assert kt("validate", run)[0] == 0
    assert (run / "metrics.json").read_bytes() == before
    assert (run / "figures" / "associations.png").read_bytes() == figure
    code, printed, _ = kt("visualise", run, "--rule", "longest", "--split", "valid")
    assert code == 0 and "figures:" in printed


def test_look_shows_how_a_file_would_be_read(tmp_path):
    path = tmp_path / "class of 7b.csv"
    path.write_text("Student,Topic,skill,ok,time\n 7,a,s,Y,3\n7,b,t,N,1\n")
    columns = ["--column", "user=Student", "--column", "correct=ok"]
    code, _, errors = kt("look", path, *columns)
    assert code == 2 and "Say which: --column timestamp=NAME" in errors
    code, shown, _ = kt("look", path, *columns, "--column", "timestamp=", "--rows", 1)
    assert code == 0
    assert "class of 7b.csv (long table): 2 answers of 1 learner on 2 skills, no items" in shown
    assert "response   ok (named by you)" in shown and "order      as in the file" in shown
    assert "1 rows with blanks around an id or a name, trimmed" in shown
    assert "The first 1 answer, as" in shown
    call = " --column user=Student --column correct=ok --column timestamp="
    assert f"run --data '{path}'{call}" in shown
    assert sorted(tmp_path.iterdir()) == [path]
    code, _, errors = kt("look", path, *columns, "--column", "user=ok")
    assert code == 2 and "user is given twice" in errors


def test_a_report_on_learners_of_ones_own(own, out, tmp_path):
    run, file = out[0] / "first", Path(own[1])
    test, target = tmp_path / "test.tsv", tmp_path / "report"
    table = pd.read_csv(file, sep="\t", dtype=str)
    table.assign(Wer="new " + table["Wer"]).to_csv(test, sep="\t", index=False)
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    call = ["validate", run, "--out", target]
    code, printed, errors = kt(*call, "--data", test)
    assert code == 0, errors
    assert "test.tsv (long table)" in printed and str(target / "report.html") in printed
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before
    metrics = json.loads((target / "metrics.json").read_text())
    assert metrics["verdicts"] and (target / "figures" / "associations.png").is_file()
    assert "test.tsv" in (target / "report.html").read_text(encoding="utf-8")
    assert "new " not in (target / "metrics.json").read_text()
    for wrong, words in (
        (["--data", test], "exists already"),
        (["--data", file, "--out", tmp_path / "x"], "was trained or chosen on"),
        (["--data", test, "--split", "valid"], "the learners of --data are the test split"),
        (["--seen-learners"], "go with --data"),
    ):
        code, _, errors = kt(*call, *wrong)
        assert code == 2 and re.search(words, errors), errors
    assert not (tmp_path / "x").exists()
    assert kt("validate", run, run, "--data", test)[2] == "error: --data: name one run\n"


def test_runs_side_by_side(own, out):
    folder, _ = out
    code, _, errors = kt(
        "train", "--preset", "smoke", *own, "--mode", "projection", "--loss", "bce",
        "--name", "second", "--out", folder, "--set", "train.epochs=1",
    )  # fmt: skip
    assert code == 0, errors
    code, _, errors = kt("validate", folder / "first", folder / "second")
    assert code == 0, errors
    page = (folder / "first" / "comparison.html").read_text()
    assert "none (BCE alone)" in page and "second" in page
    assert (folder / "first" / "figures" / "comparison.png").exists()


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["run", "--preset", "fast"], 2, "preset 'fast' does not exist"),
        (["run", "--set", "train.epoch=3"], 2, "did you mean 'train.epochs'"),
        (["run", "--set", "train.epochs"], 2, "write it as name=value"),
        (["run", "--colour", "red"], 2, "unrecognized arguments: --colour"),
        (
            ["run", "--mode", "magic"],
            2,
            "choose one of: retrospective, retentive, cumulative",
        ),
        (["run", "--name", "../up"], 2, "letters, digits"),
        (["paint"], 2, "invalid choice: 'paint'"),
        (["validate", "nowhere"], 2, "nowhere is not a finished run"),
        (["visualise", "nowhere"], 2, "nowhere is not a finished run"),
        (["presets", "fast"], 2, "preset 'fast' does not exist"),
    ],
)
def test_wrong_calls(args, code, words, tmp_path, capsys):
    extra = ["--out", str(tmp_path / "o")] if args[0] == "run" else []
    try:
        got = cli.main([*args, *extra])
    except SystemExit as stop:  # argparse's own errors
        got = stop.code
    assert got == code and words in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_bad_data_ends_in_one_message_and_no_run(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("user,skill,correct\nu,a,maybe\n")
    code, _, errors = kt(
        "run", "--preset", "smoke", "--data", path, "--out", tmp_path / "o", "--name", "r"
    )
    assert code == 2 and "line 2: response 'maybe' is not 0 or 1" in errors
    assert errors.count("error:") == 1 and "Traceback" not in errors
    assert not (tmp_path / "o" / "r").exists()


def test_the_command_line_and_reading_a_run_load_nothing_that_takes_seconds():
    heavy = "('lightning', 'papermill', 'jsonschema', 'torch._dynamo')"
    code = (
        "import sys, kt_core.cli\n"
        "from kt_core.config import ModelConfig\n"
        "from kt_core.runs.shapes import shapes\n"
        "assert len(shapes(ModelConfig(), 5, [0, 1, 2, 3, 4])) > 50\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(
    ("command", "heavy"),
    [
        (["--help"], "numpy pandas torch lightning matplotlib scipy IPython papermill"),
        (["presets", "standard"], "numpy pandas torch lightning matplotlib scipy IPython"),
        (["look", "answers.csv"], "torch lightning matplotlib scipy IPython papermill"),
        (
            ["predict", "RUN", "--data", "answers.csv", "--out", "mastery.csv"],
            "lightning matplotlib scipy.stats sklearn IPython papermill",
        ),
        (
            ["classroom", "RUN", "--data", "answers.csv", "--out", "pages"],
            "lightning matplotlib sklearn IPython papermill",
        ),
    ],
)
def test_a_quick_command_loads_nothing_that_is_slow(tmp_path, command, heavy):
    rows = "\n".join(f"learner{i // 9},skill 03,{i % 2}" for i in range(18))
    (tmp_path / "answers.csv").write_text(f"user,skill,correct\n{rows}\n")
    if "RUN" in command:
        shutil.copytree(STORED, tmp_path / "RUN")
        judged = {"split": "test", "verdicts": [], "inflated": False}
        judged["prediction"] = [{"learners": 40}]
        (tmp_path / "RUN" / "metrics.json").write_text(json.dumps(judged))
    code = (
        "import sys, kt_core.cli\n"
        f"try: kt_core.cli.main({command})\n"
        "except SystemExit: pass\n"
        f"print(sorted(set(sys.modules) & set({heavy.split()})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.endswith("[]\n"), done.stdout + done.stderr


AUDIT = ["audit", "--mastery", "oops.csv", "--responses", "odd.csv", "--sees", "pre"]


def demo_like(folder, setting=""):
    """A copy of the demo's run; a setting of it has another number."""
    shutil.copytree(STORED, folder)
    file = Path(folder, "config.json")
    saved = json.loads(file.read_text())
    if setting:
        section, name = setting.split(".")
        saved["config"][section][name] += 1
    file.write_text(json.dumps(saved))


REFUSED = [  # and a part of what is said
    (["validate", "nowhere"], "nowhere is not a finished run"),
    (["validate", ".", "--data", "lost.csv"], "lost.csv: no such file"),
    (["visualise", "nowhere"], "nowhere is not a finished run"),
    (["decisions", "nowhere"], "nowhere is not a finished run"),
    (["criterion", "nowhere", "--scores", "here.csv"], "nowhere is not a finished run"),
    (["criterion", "--mastery", "here.csv", "--scores", "lost.csv"], "lost.csv: no such file"),
    (["audit", "--mastery", "lost", "--responses", "here.csv", "--sees", "pre"], "lost: no"),
    (["audit", "--mastery", "here.csv", "--responses", "lost", "--sees", "pre"], "lost: no"),
    (["experiment", "--data", "here.csv", "--outcome", "lost.csv"], "lost.csv: no such file"),
    (["run", "--data", "lost.csv"], "lost.csv: no such file"),
    (["run", "--set", "train.epoch=3"], "did you mean 'train.epochs'"),
    (["run", "--compare", "constraints", "--data", "lost.csv"], "lost.csv: no such file"),
    (["sweep", "--grid", "lost.yaml", "--out", "o"], "lost.yaml: no such file"),
    (["sweep", "--grid", "grid.yaml", "--out", "o"], "preset 'smok' does not exist"),
    (["worlds", "--world", "ours"], "world 'ours' does not exist"),
    (["worlds", "--models", "Rasch", "GPT"], "model 'GPT' does not exist; choose from: retro"),
    (["worlds", "--shown", "GPT"], "model 'GPT' does not exist"),
    (["experiment", "memphis", "--models", "GPT"], "model 'GPT' does not exist"),
    (["benchmark", "--only", "GPT"], "--only GPT: no cell's name contains it"),
    (["run", "--data", "odd.csv"], "odd.csv: unknown format; its first line is 'a,b'"),
    (["train", "--data", "odd.csv"], "odd.csv: unknown format; its first line is 'a,b'"),
    (["class", "odd.csv"], "odd.csv: unknown format; its first line is 'a,b'"),
    (["class", "odd.csv", "--mode", "cumulative"], "does not say how sure it is"),
    (["validate", "damaged"], "damaged, or not the weights that training wrote"),
    (["predict", "unfinished", "--data", "odd.csv", "--out", "o"], "it has no state.json"),
    (["predict", "demo", "--data", "odd.csv", "--out", "o.txt"], "name it .parquet or .csv"),
    (["predict", "demo", "--data", "odd.csv", "--out", "o/o.csv"], "there is no folder"),
    (["class", "here.csv", "--out", "there"], "there exists already"),
    (["class", "--run", "demo", "--out", "there"], "there exists already"),
    (["classroom", "demo", "--out", "there"], "there exists already"),
    (["validate", "demo", "--data", "odd.csv", "--out", "there"], "there exists already"),
    (["worlds", "--jobs", "0"], "--jobs 0: at least 1"),
    (["benchmark", "--jobs", "0"], "--jobs 0: at least 1"),
    (["sweep", "--grid", "grid.yaml", "--out", "o", "--jobs", "0"], "--jobs 0: at least 1"),
    ([*AUDIT, "--out", "there"], "there exists already"),
    (AUDIT, "oops.csv, row 1: mastery 'oops' is not a number"),
    ([*AUDIT, "--mastery-column", "teacher=x"], "--mastery-column teacher: choose from"),
    ([*AUDIT[:2], "fine.csv", *AUDIT[3:]], "odd.csv: unknown format"),
    (["criterion", "demo", "--scores", "odd.csv"], "odd.csv: no column learner"),
    (
        ["criterion", "--mastery", "oops.csv", "--data", "odd.csv", "--scores", "odd.csv"],
        "oops.csv, row 1: mastery 'oops' is not a number",
    ),
    (
        ["experiment", "--data", "right.csv", "--outcome", "right.csv", "--condition", "dose"],
        "right.csv: no column 'dose'; it has: user, skill, correct",
    ),
    (["experiment", "memphis", "--out", "there"], "there exists already"),
    (["validate", "demo", "demo"], "a run is named twice"),
    (["validate", "demo", "seed"], "demo and seed have other resamples (report.bootstrap"),
    (["validate", "demo", "split"], "demo and split have other learners (data or fold)"),
    (["validate", "demo", "fold", "--split", "valid"], "have other learners (data or fold)"),
    (["validate", "demo", "demo/../changed"], "is not what this run was trained on"),
]


@pytest.fixture
def mistakes(tmp_path, monkeypatch):
    """The folder, made the current one, with the files and runs that `REFUSED` names."""
    monkeypatch.chdir(tmp_path)
    Path("here.csv").write_text("user,skill,correct\n")
    Path("grid.yaml").write_text("preset: smok\n")
    Path("odd.csv").write_text("a,b\n1,2\n")
    Path("right.csv").write_text("user,skill,correct\nu,s,1\nu,s,0\n")
    Path("oops.csv").write_text("learner,step,skill,mastery\nu,1,s,oops\n")
    Path("fine.csv").write_text("learner,step,skill,mastery\nu,1,s,0.5\n")
    Path("there").mkdir()
    demo_like("demo")
    demo_like("seed", "report.seed")
    demo_like("fold", "data.fold")
    demo_like("split", "data.split_seed")
    demo_like("changed", "data.fold")
    provenance = json.loads(Path("changed/provenance.json").read_text())
    Path("changed/provenance.json").write_text(json.dumps(provenance | {"data_sha256": {}}))
    for folder in map(Path, ("damaged", "unfinished")):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
    Path("damaged/state.json").write_text('{"state": "finished", "weights_sha256": "0"}')
    Path("damaged/model.safetensors").write_text("weights")
    return tmp_path


@pytest.mark.parametrize(("command", "words"), REFUSED)
def test_what_is_plainly_wrong_is_refused_before_anything_slow(
    mistakes, monkeypatch, capsys, command, words
):
    monkeypatch.setattr("subprocess.Popen", None)  # no kernel starts
    slow = ("papermill", "kt_core.model", "kt_core.runs")
    for name in {"papermill", *(name for name in sys.modules if name.startswith(slow))}:
        monkeypatch.setitem(sys.modules, name, None)  # and none of these can be imported
    assert cli.main(command) == 2
    assert words in capsys.readouterr().err


def test_refusing_loads_no_torch(mistakes):
    code = (
        "import sys, kt_core.cli\n"
        f"for command in {[command for command, _ in REFUSED]}:\n"
        "    assert kt_core.cli.main(command) == 2, command\n"
        "    assert not {'torch', 'papermill'} & set(sys.modules), command\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "rows", "settings"),
    [
        ("odd.csv", 200_000, {}),
        ("odd.csv.gz", 40_000, {}),
        ("odd.csv", 1, {"data.pseudonymise": True}),
    ],
)
def test_large_files_and_hidden_names_are_not_read_early(tmp_path, name, rows, settings):
    table = pd.DataFrame({"a": np.random.default_rng(0).random(rows), "b": 1})
    table.to_csv(tmp_path / name, index=False)
    chosen = configure("quick", "", str(tmp_path / name), overrides=settings)
    early.check_answers(chosen.data)  # without an error
    table.head(1).to_csv(tmp_path / "small.csv", index=False)
    with pytest.raises(KTError, match="unknown format"):
        early.check_answers(configure("quick", "", str(tmp_path / "small.csv")).data)


def test_runs_that_can_be_compared_are_not_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, setting in (("a", ""), ("b", "train.seed"), ("fold", "data.fold")):
        demo_like(folder, setting)
    early.check_comparable([Path("a"), Path("fold")], "test")  # they differ in validation
    monkeypatch.setattr("kt_core.data.same.splits_of", None)
    early.check_comparable([Path("a"), Path("b")], "test")  # without reading their data


def test_a_header_of_ones_own_is_answered_with_the_words_that_name_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("Student,My Topic,Right\nada,sums,1\n")
    code, _, errors = kt("class", "a.csv")
    assert code == 2 and "--column learner=NAME --column skill=NAME --column correct=NAME" in errors
    assert "with these names: Student, My Topic, Right (write" in errors
    words = ["learner=Student", "skill=My Topic", "correct=Right"]
    code, shown, _ = kt("look", "a.csv", *(x for word in words for x in ("--column", word)))
    assert code == 0 and "1 answer of 1 learner on 1 skill, no items" in shown
    call = "--column learner=Student --column 'skill=My Topic' --column correct=Right"
    assert f"python -m kt_core class a.csv {call}" in shown


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_an_interrupted_training_can_be_resumed(tmp_path, number, code, word):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    tmp_path = tmp_path / "runs"
    command = [sys.executable, "-m", "kt_core", "run", "--preset", "smoke", "--out", str(tmp_path)]
    command += ["--set", "train.epochs=5000", "--set", "train.patience=5000", "--name", "r"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(scratch)},
        # A runner in the background may have interrupts switched off, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for line in process.stdout:
        if line.startswith("epoch   2"):  # the first has its checkpoint then
            break
    kernel = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert errors.splitlines()[-1].startswith(f"{word}: Resume it with")
    assert kernel and not psutil.wait_procs(kernel, timeout=10)[1]
    assert not list(scratch.glob("kt_core-*"))
    assert [p.name for p in tmp_path.iterdir()] == ["r"]
    assert halfruns.half_run(tmp_path / "r").train.epochs == 5000


def test_what_a_killed_kernel_left_is_removed_where_nothing_can_go_on(tmp_path):
    for name in ("killed", "base"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
    (tmp_path / "base" / "checkpoints" / "resume.ckpt").write_bytes(b"x")
    assert trainings.discarded(tmp_path / "killed") and not trainings.discarded(tmp_path / "base")
    assert [p.name for p in tmp_path.iterdir()] == ["base"]


def test_an_existing_name_and_an_unwritable_folder(out, tmp_path, capsys):
    folder, _ = out
    assert cli.main(["run", "--name", "first", "--out", str(folder)]) == 2
    assert "exists already" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert cli.main(["run", "--out", str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_run_with_truncated_weights(out, tmp_path, capsys):
    shutil.copytree(out[0] / "first", tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    assert cli.main(["validate", str(tmp_path / "cut")]) == 2
    assert "damaged" in capsys.readouterr().err


def test_lists_and_doctor(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("kt_core.cli.doctor._page", lambda: "")  # it is tried in test_package.py
    assert cli.main(["datasets"]) == 0
    assert "assist2015" in capsys.readouterr().out
    assert cli.main(["presets"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in PRESETS)
    assert cli.main(["presets", "standard"]) == 0
    assert "train.epochs" in capsys.readouterr().out
    assert cli.main(["doctor", "--out", str(tmp_path)]) == 0
    assert "all is well" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("what", "now", "finding"),
    [
        ("kt_core.cli.doctor._step", lambda: 1 / 0, "forward and backward +Zero.*: division by"),
        (
            "kt_core.cli.doctor.NOTEBOOKS",
            Path("nowhere"),
            "notebooks +nowhere: 00_first_hour, .*missing",
        ),
        ("kt_core.cli.doctor.__version__", "0", "kt-core +.*version 0, but pip has installed 0."),
        ("importlib.metadata.requires", lambda _: ["xyz>=1"], "packages +xyz>=1 is not installed"),
        ("importlib.metadata.requires", lambda _: ["torch>=99"], "packages +torch>=99 is needed"),
        ("platform.system", lambda: "Windows", "python +Windows cannot lock folders"),
    ],
)
def test_doctor_says_what_fails_and_a_way_out(capsys, monkeypatch, tmp_path, what, now, finding):
    monkeypatch.setattr("kt_core.cli.doctor._page", lambda: "")
    monkeypatch.setattr(what, now)
    assert cli.main(["doctor", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert re.search(f"FAILED +{finding}.*\n +way out: ", said), said
    assert "1 of 11 checks failed" in said and "all is well" not in said


def test_what_is_optional_may_be_absent(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("kt_core.cli.doctor._page", lambda: "")
    monkeypatch.setattr("kt_core.notebook.pdf.BROWSERS", ())
    assert cli.main(["doctor", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert re.search("absent +PDF +a PDF needs Chromium", said) and "well, without PDF" in said


def test_a_torch_that_cannot_be_loaded_is_told(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("kt_core.cli.doctor._page", lambda: "")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert cli.main(["doctor", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert re.search("FAILED +torch +ModuleNotFoundError.*\n +way out: install another", said)
    (tmp_path / "torch.py").write_text("raise ImportError('no libcudnn')")
    done = subprocess.run(
        [sys.executable, "-m", "kt_core", "train"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    error = "error: no libcudnn; python -m kt_core doctor says what is missing"
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == error
    assert "Traceback" not in done.stderr


def test_a_study_without_cells_is_refused_at_once(capsys, tmp_path):
    for study in ("benchmark", "worlds"):
        out = tmp_path / study
        assert cli.main([study, "--print", "--store", str(tmp_path), "--out", str(out)]) == 2
        assert f"{tmp_path}: no finished cell; without --print" in capsys.readouterr().err
        assert not out.exists()


def test_where_runs_go(monkeypatch, tmp_path):
    from kt_core.base import places
    from kt_core.runs.provenance import git_commit

    for here in (ROOT, ROOT / "notebooks"):
        monkeypatch.chdir(here)
        assert places.default_out() == ROOT / "runs"
    monkeypatch.chdir(tmp_path)
    assert places.default_out() == tmp_path / "runs"
    assert places.default_out(ROOT / "docs") == ROOT / "runs"
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(places, "CHECKOUT", None)
    assert places.default_out() == ROOT / "runs"
    monkeypatch.setattr("kt_core.runs.provenance.CHECKOUT", None)
    assert git_commit() == ""  # not that of a repository in which the package happens to be


def test_figures_are_the_same_byte_for_byte(tmp_path):
    import matplotlib.pyplot as plt

    plots.use_style()
    history = pd.DataFrame(
        {"epoch": [0, 1], "valid/auc": [0.6, 0.7], "valid/loss": [1, 0.9], "loss/bce": [1, 0.8]}
    )
    made = []
    for folder in ("a", "b"):
        fig, axes = plt.subplots(1, 2)
        plots.plot_history(history, 0.72, axes[0])
        plots.plot_losses(history, axes[1])
        made.append([p.read_bytes() for p in plots.save(fig, tmp_path / folder, "x")])
        plt.close(fig)
    assert made[0] == made[1]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_thin_and_stripped(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    tags = [c.metadata.get("tags", []) for c in notebook.cells]
    assert sum("parameters" in t for t in tags) == 1
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None
            assert len(cell.source.splitlines()) <= 25 and "def " not in cell.source


def test_environment_file_is_a_shim():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["dependencies"] == ["python=3.11", "pip"]
    assert project["requires-python"] == ">=3.11,<3.15"
    pins = (ROOT / "constraints.txt").read_text().replace("\\\n", "").splitlines()
    pins = [line for line in pins if "==" in line]
    assert all("--hash=sha256:" in line for line in pins)
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in pins}
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]
    for requirement in wanted:
        assert re.split(r"[>=<\[]", requirement)[0].lower() in pinned, requirement


def test_commands_in_the_documents_exist():
    text = "\n".join(path.read_text() for path in (ROOT / "README.md", ROOT / "docs" / "guide.md"))
    parser = cli.parser("", cli.ACTIONS)
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", text, re.S)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    calls = [line for line in lines if "-m kt_core" in line or re.search(r"(^|/)kt-core ", line)]
    assert calls and "make report" in lines and "make test" in lines
    for line in calls:
        parser.parse_args(re.split("-m kt_core|kt-core ", line, maxsplit=1)[1].split())
    makefile = (ROOT / "Makefile").read_text()
    for line in lines:
        if line.startswith("make "):
            assert re.search(rf"^{line.split()[1]}:", makefile, re.M), line


@needs_data
def test_real_data_end_to_end(tmp_path):
    code, _, errors = kt(
        "run", "--preset", "smoke", "--dataset", "assist2015", "--set", "train.epochs=1",
        "--set", "train.tokens_per_batch=32768", "--set", "report.bootstrap=20",
        "--out", tmp_path, "--name", "r",
    )  # fmt: skip
    assert code == 0, errors
    metrics = json.loads((tmp_path / "r" / "metrics.json").read_text())
    live = ("filtered_monotonicity", "filtered_fall_after_correct")  # these may be revised
    judged = [v for v in metrics["violations"] if v["constraint"] not in live]
    assert len(judged) == 4 and {v["broken"] for v in judged} == {0}
    places = {v["constraint"]: v["places"] for v in metrics["violations"]}
    assert places["bounds"] == 138_458 * 100  # all test learners, steps and skills
