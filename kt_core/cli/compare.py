"""`run --compare`: modes trained with the same settings, and put side by side."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from kt_core.base.errors import KTError
from kt_core.cli.arguments import overrides_of
from kt_core.cli.studies import told
from kt_core.data.registry import read_splits
from kt_core.notebook import pdf
from kt_core.notebook.headless import executed
from kt_core.notebook.page import export_html
from kt_core.presets import USUAL
from kt_core.runs.find import run_folder
from kt_core.studies import constraints
from kt_core.studies.cell import Cell
from kt_core.studies.cells import run_cells

CONSTRAINTS = "08_constraints"


def compare(args: argparse.Namespace) -> int:
    """Train the modes that are not trained yet, write and print the comparison; return the exit
    code.

    Raises
    ------
    KTError
        For arguments that belong to one training, impossible settings, data that cannot be read,
        or a folder that holds something else.
    KeyboardInterrupt
        With how to continue.
    """
    _check(args)
    if args.pdf:
        pdf.browser()  # if it is missing, say so before training
    cells = _cells(args)
    name = args.name or constraints.usual_name(cells)
    folder = run_folder(cells[0].config, name, args.out).absolute()
    constraints.check_folder(cells, folder, read_splits(cells[0].config).dataset)
    for cell in cells:
        print(f"{cell.model}: auxiliary losses {constraints.losses(cell)}")
    try:
        if failed := run_cells(cells, folder):
            return told(failed)
        return _shown(cells, folder, args.pdf)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("call it again to continue") from None


def _check(args: argparse.Namespace) -> None:
    """Refuse arguments that a comparison cannot follow."""
    call, modes = f"--compare {args.compare}", ", ".join(constraints.MODES)
    if args.mode:
        raise KTError(f"{call} trains the modes {modes}: leave out --mode, or --compare")
    if args.resume or args.end:
        raise KTError(
            f"{call} continues by itself where it was stopped: call it with its own settings, "
            "without --resume and --end"
        )
    if args.split != "test":
        raise KTError(f"{call} is about test learners: leave out --split {args.split}")


def _cells(args: argparse.Namespace) -> list[Cell]:
    overrides = overrides_of(args)
    del overrides["train.progress"]  # each training says so itself
    if columns := overrides.get("data.columns"):
        overrides["data.columns"] = json.dumps(columns)  # as it is typed after --set
    data = str(Path(args.data).absolute()) if args.data else ""
    try:
        axes = args.preset or USUAL, args.dataset, data, args.seed, args.fold
        return constraints.plan(*axes, overrides)
    except KTError as error:
        raise KTError(f"--compare {args.compare}, {error}") from None


def _shown(cells: list[Cell], folder: Path, as_pdf: bool) -> int:
    """Write table, figure and page, and print the table and where they are."""
    table = constraints.collect(cells, folder)
    with executed(CONSTRAINTS, {"folder": str(folder)}) as notebook:
        page = export_html(notebook, folder / "constraints.html", "Constraints compared")
    if as_pdf:
        print(f"PDF:    {pdf.export_pdf(page, page.with_suffix('.pdf'))}")
    print(f"\n{constraints.text(table).to_string(index=False)}\n")
    print(*constraints.notes(table), sep="\n")
    print(f"\ntable:  {folder / constraints.TABLE}")
    print(f"figure: {folder / 'figures' / 'constraints.png'}\nreport: {page}")
    return 0
