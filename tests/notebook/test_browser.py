"""The notebooks in a real JupyterLab, in a real browser: run, choose, move, stop, and look."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from conftest import sweep_table
from screens import BROWSER, CHANGED, DONE, FLAGS, MINUTE, jupyterlab

from kt_core.cli.commands import main
from kt_core.config import with_overrides
from kt_core.data import Simulation, simulate
from kt_core.data.registry import read_splits
from kt_core.learners.classroom.pages import file_name
from kt_core.notebook.page import export_html, show
from kt_core.presets import preset
from kt_core.training.train import train

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium here (Debian: apt-get install chromium)"
)
ERROR = '[data-mime-type="application/vnd.jupyter.error"]'


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab of its own."""
    with jupyterlab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, request):
    page = browser.new_page(viewport={"width": 1300, "height": 1600})
    yield page
    if os.environ.get("KT_SCREENSHOTS"):
        name = request.node.name.replace("[", "-").replace("]", "")
        page.screenshot(path=Path(os.environ["KT_SCREENSHOTS"]) / f"{name}.png")
    page.close()


def wait_until_done(page, timeout=3 * MINUTE):
    """Until the last code cell has run; no cell may have failed."""
    page.wait_for_function(DONE, timeout=timeout)
    failed = page.locator(ERROR)
    assert failed.count() == 0, failed.first.inner_text()


TINY = {"preset": "smoke", "name": "tiny"}


def test_train_with_the_dashboard(lab, page):
    lab.open(page, "01_train", TINY | {"out": str(lab.root / "runs")})
    wait_until_done(page)
    page.get_by_text("done after 2 epochs").wait_for()
    assert page.locator(".jp-OutputArea-output img").count() >= 3
    assert (lab.root / "runs" / "tiny" / "model.safetensors").is_file()


def test_the_stop_button_works_while_the_cell_trains(lab, page):
    parameters = {"preset": "smoke", "name": "stopped", "out": str(lab.root / "runs")}
    parameters["overrides"] = {"train.epochs": 5000, "train.patience": 5000}
    lab.open(page, "01_train", parameters)
    page.get_by_text(re.compile(r"epoch \d\d+ of 5000")).wait_for(timeout=MINUTE)
    page.get_by_role("button", name="Stop and keep the best").click()
    page.get_by_text("stopped by hand after").wait_for(timeout=MINUTE)
    wait_until_done(page)
    assert (lab.root / "runs" / "stopped" / "model.safetensors").is_file()


TRAPS = (
    "<script>window.hacked=1</script>",
    '"><img src=x onerror=window.hacked=1>',
    "' onmouseover='window.hacked=1",
    "$x^2$ & {{ 7 * 7 }} </title><svg/onload=window.hacked=1>",
    "=HYPERLINK(1)",
)
THEIRS = "it's {x} \"\\ <i>theirs.csv"


@pytest.fixture(scope="module")
def table():
    """Answers of learners and on skills whose names would run, were they not text."""
    table = simulate(Simulation(learners=80), "s").table[["user", "skill", "correct"]]
    for column in ("user", "skill"):
        number, names = pd.factorize(table[column], sort=True)
        traps = [f"{TRAPS[i % len(TRAPS)]} {name}" for i, name in enumerate(names)]
        table[column] = [traps[i] for i in number]
    return table


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    """A run to look at."""
    folder = tmp_path_factory.mktemp("runs")
    table.to_csv(folder / "<b>it's mine.csv", index=False)
    path = str(folder / "<b>it's mine.csv")
    config = with_overrides(preset("smoke"), {"data.path": path, "train.progress": False})
    return train(config, read_splits(config), folder / TRAPS[1]).path


def nothing_has_run(page):
    """Traps are text: no script, handler or image of theirs is there."""
    page.wait_for_load_state("load")
    assert page.evaluate("window.hacked") is None
    assert page.locator("[onerror], [onload], [onmouseover]").count() == 0


def picture(page, number=0):
    """Where the image of the explorer comes from: a new address for each new picture."""
    return page.locator("img.widget-image").nth(number).get_attribute("src")


def test_the_explorer(lab, page, run):
    lab.open(page, "03_mastery_trajectories", {"run": str(run)})
    page.locator("img.widget-image").first.wait_for(timeout=2 * MINUTE)
    before = picture(page)
    page.get_by_label("learner").select_option(index=2)
    page.wait_for_function(CHANGED, arg=before, timeout=2 * MINUTE)
    before = picture(page)
    page.get_by_role("slider").first.focus()
    page.keyboard.press("Home")
    page.wait_for_function(CHANGED, arg=before, timeout=2 * MINUTE)
    before = picture(page)
    for _ in range(8):  # faster than a picture is drawn
        page.keyboard.press("ArrowRight")
    page.wait_for_function(CHANGED, arg=before, timeout=2 * MINUTE)
    page.get_by_text("computing ...").wait_for(state="hidden", timeout=2 * MINUTE)
    assert page.get_by_role("slider").first.get_attribute("aria-valuenow") == "9.0"
    wait_until_done(page)
    assert (run / "figures" / "skills.png").is_file()
    assert "window.hacked" in page.get_by_label("skills").inner_text()
    nothing_has_run(page)


@pytest.mark.parametrize("name", ["02_consistency_report", "04_benchmark"])
def test_the_other_notebooks_run(lab, page, run, name):
    parameters = {"run": str(run)} if name.startswith("02") else {"out": str(lab.root / "bench")}
    lab.open(page, name, parameters)
    wait_until_done(page)


@pytest.mark.parametrize("name", ["00_first_hour", "07_worlds", "08_constraints", "09_comparison"])
def test_notebooks_run_with_what_they_are_shipped_with(lab, page, name):
    lab.open(page, name, {"out": str(lab.root / name)} if name.startswith("07") else {})
    wait_until_done(page)
    assert page.locator(".jp-OutputArea-output img, .jp-OutputArea-output svg").count()


def test_the_audit(lab, page, run):
    folder = lab.root
    steps = pd.DataFrame(
        {"user": ["a"] * 5 + ["b"] * 5, "skill": "s", "correct": [0, 1, 0, 1, 1] * 2}
    )
    steps.to_csv(folder / "answers.csv", index=False)
    mastery = pd.DataFrame({"learner": steps["user"], "step": [*range(1, 6)] * 2, "skill": "s"})
    mastery.assign(mastery=[0.2, 0.3, 0.5, 0.6, 0.7] * 2).to_csv(folder / "theirs.csv", index=False)
    parameters = {"mastery": str(folder / "theirs.csv"), "responses": str(folder / "answers.csv")}
    parameters |= {"sees": "pre", "out": str(folder / "audited")}
    lab.open(page, "05_audit", parameters)
    wait_until_done(page)


def test_the_sweep(lab, page):
    folder = lab.root / "swept"
    folder.mkdir()
    sweep_table().to_parquet(folder / "results.parquet")
    lab.open(page, "06_sweep", {"folder": str(folder)})
    wait_until_done(page)
    page.get_by_text("6 cells; what varies: mode, seed").wait_for()
    assert (folder / "figures" / "sweep.png").is_file()


def test_the_report_needs_no_network_and_its_tables_can_be_copied(page, run):
    assert main(["validate", str(run)]) == 0
    report, asked = run / "report.html", []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_load_state("load")
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
    assert report.stat().st_size < 10e6
    assert f"Run {TRAPS[1]}" in page.locator("body").inner_text()
    nothing_has_run(page)
    page.get_by_role("button", name="Copy table").first.click()
    page.get_by_role("button", name="Copied").wait_for()
    page.evaluate("document.body.append(document.createElement('textarea'))")
    page.locator("textarea").focus()
    page.keyboard.press("Control+V")
    pasted = page.locator("textarea").input_value().splitlines()
    assert pasted[0].split("\t")[0] == "measure" and len({line.count("\t") for line in pasted}) == 1


@pytest.fixture(scope="module")
def stranger_pages(run, table, tmp_path_factory):
    """The other pages that show names, made of the same answers."""
    folder = tmp_path_factory.mktemp("pages")
    answers = folder / "answers.csv"
    few = table[table["user"].isin(table["user"].unique()[:20])]
    few.to_csv(answers, index=False)
    step = few.groupby("user").cumcount() + 1
    mastery = pd.DataFrame({"learner": few["user"], "step": step, "skill": few["skill"]})
    mastery.assign(mastery=0.5 + step / 1000).to_csv(folder / THEIRS, index=False)
    audit = ["audit", "--mastery", str(folder / THEIRS), "--responses", str(answers)]
    assert main(["visualise", str(run), "--rule", "longest"]) == 0
    assert main(["classroom", str(run), "--data", str(answers), "--out", str(folder / "c")]) == 0
    assert main([*audit, "--sees", "pre", "--out", str(folder / "a")]) == 0
    lone = few[few["user"].str.contains("<script>")]["user"].iloc[0]
    return {
        "trajectories": run / "trajectories.html",
        "explore learners": run / "interactive" / "trajectories.html",
        "explore skills": run / "interactive" / "skills.html",
        "class": folder / "c" / "class.html",
        "learner": folder / "c" / "learners" / file_name(lone),
        "audit": folder / "a" / "report.html",
        "a table and a print": _exported(table, folder / "x.html"),
    }


def _exported(table, target):
    """As any notebook's: a table, printed text and a title."""
    shown = {"text/html": show(table.head(), TRAPS[0]).data, "text/plain": TRAPS[0]}
    outputs = [
        nbformat.v4.new_output("display_data", shown),
        nbformat.v4.new_output("stream", text=f"\x1b[31m{TRAPS[1]}\x1b[0m {TRAPS[0]}"),
    ]
    cell = nbformat.v4.new_code_cell("1", outputs=outputs, execution_count=1)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), target.with_suffix(".ipynb"))
    return export_html(target.with_suffix(".ipynb"), target, TRAPS[3])


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("trajectories", [f"Mastery trajectories: {TRAPS[1]}"]),
        ("explore learners", []),
        ("explore skills", []),
        ("class", TRAPS),
        ("learner", [TRAPS[0], TRAPS[1], TRAPS[3]]),
        ("audit", [f"Audit: {THEIRS}", TRAPS[0]]),
        ("a table and a print", [TRAPS[0], TRAPS[1], TRAPS[3]]),
    ],
)
def test_strangers_names_are_shown_and_not_run(page, stranger_pages, name, texts):
    page.goto(stranger_pages[name].as_uri())
    nothing_has_run(page)
    shown = f"{page.title()}\n{page.locator('body').inner_text()}"
    for text in texts:
        assert text in shown
    page.mouse.move(300, 300)
    nothing_has_run(page)


def test_an_interactive_figure_answers_without_a_network(page, stranger_pages):
    asked, path = [], stranger_pages["explore learners"]
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    lines = page.locator("#view .mark-line path").first
    lines.wait_for()
    before, menu = lines.get_attribute("d"), page.locator("#view select")
    assert menu.locator("option").count() > 1
    menu.select_option(index=1)
    page.wait_for_function(
        "before => document.querySelector('#view .mark-line path').getAttribute('d') !== before",
        arg=before,
    )
    page.locator("#view .mark-symbol path").first.hover()
    page.locator("#vg-tooltip-element").get_by_text("as believed then").wait_for()
    page.goto(stranger_pages["explore skills"].as_uri())
    page.locator("#view .mark-symbol path").first.wait_for()
    nothing_has_run(page)
    assert all(url.startswith(("data:", "file:")) for url in asked)


def test_lists_of_a_class_are_searched_filtered_and_sorted(page, stranger_pages):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(stranger_pages["class"].as_uri())
    learners, skills, _ = page.locator(".list").all()
    rows = learners.locator("tbody tr")

    def shown(column):
        return [
            row.locator("td").nth(column).inner_text() for row in rows.all() if row.is_visible()
        ]

    every = shown(0)
    assert len(every) == rows.count() == 20
    assert learners.locator(".count").inner_text() == "20 of 20 rows"
    learners.get_by_role("button", name="answers").click()
    answers = [int(text) for text in shown(6)]
    assert answers == sorted(answers) and learners.locator("[aria-sort=ascending]").count() == 1
    learners.get_by_role("button", name="answers").click()
    assert [int(text) for text in shown(6)] == answers[::-1]
    learners.get_by_role("searchbox").fill(every[3])
    assert every[3] in shown(0) and len(shown(0)) < 20
    learners.get_by_role("searchbox").fill("no such learner")
    assert shown(0) == [] and "0 of 20" in learners.locator(".count").inner_text()
    learners.get_by_role("searchbox").fill("")
    groups = shown(1)
    learners.get_by_role("combobox").select_option(label=groups[0])
    assert set(shown(1)) == {groups[0]} and len(shown(1)) == groups.count(groups[0])
    assert skills.locator("tbody tr:visible").count() == skills.locator("tbody tr").count()
    assert all(url.startswith("file:") for url in asked)
    nothing_has_run(page)


def test_a_formula_is_pasted_as_text_and_a_number_as_a_number(page, stranger_pages):
    page.goto(stranger_pages["a table and a print"].as_uri())
    cells = page.evaluate(
        "['=HYPERLINK(1)', '@x', '+1', '-x', '-0.5 [-0.6, -0.4]', '-.5', 'plain'].map(cell)"
    )
    assert cells == ["'=HYPERLINK(1)", "'@x", "'+1", "'-x", "-0.5 [-0.6, -0.4]", "-.5", "plain"]
