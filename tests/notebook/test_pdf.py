"""Reports as PDF, through the browser that is installed."""

from __future__ import annotations

import shutil

import pytest

from kt_core.base.errors import KTError
from kt_core.cli.commands import main
from kt_core.notebook import pdf

needs_browser = pytest.mark.skipif(
    not any(map(shutil.which, pdf.BROWSERS)), reason="no Chromium here"
)


@pytest.fixture
def page(tmp_path):
    file = tmp_path / "page with spaces.html"
    file.write_text("<h1>Report</h1><p>mastery</p>", encoding="utf-8")
    return file


@needs_browser
def test_a_page_becomes_a_pdf(page, tmp_path):
    made = pdf.export_pdf(page, tmp_path / "report.pdf")
    assert made.read_bytes().startswith(b"%PDF")
    assert {p.name for p in tmp_path.iterdir()} == {page.name, "report.pdf"}


def test_without_a_browser_it_says_so_before_it_works(trained, monkeypatch, capsys):
    monkeypatch.setattr(pdf.shutil, "which", lambda name: None)
    assert main(["validate", str(trained.path), "--pdf"]) == 2
    assert "a PDF needs Chromium" in capsys.readouterr().err
    assert not (trained.path / "report.pdf").exists()


def test_a_browser_that_fails_leaves_nothing(page, tmp_path, monkeypatch):
    monkeypatch.setattr(pdf, "browser", lambda: shutil.which("false"))
    with pytest.raises(KTError, match="made no PDF"):
        pdf.export_pdf(page, tmp_path / "report.pdf")
    assert not (tmp_path / "report.pdf").exists()
