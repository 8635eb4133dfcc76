"""An audit from files to files."""

from __future__ import annotations

import json
from pathlib import Path

from kt_core.audit.estimates import Audited, audit, read_mastery
from kt_core.data.pseudonyms import pseudonyms
from kt_core.data.readers import read_table
from kt_core.data.table import Dataset
from kt_core.reporting import plain
from kt_core.runs import write_text

TABLES = ("prediction", "violations", "associations", "conduct", "collapse", "skills")


def audit_files(
    mastery: str | Path,
    responses: str | Path,
    sees: str,
    format: str = "auto",
    columns: dict[str, str] | None = None,
    resamples: int = 1000,
    pseudonymise: bool = False,
) -> Audited:
    """`audit` on a table of estimates and a file of responses.

    Parameters
    ----------
    pseudonymise : learners by keyed hashes (`kt_core.data.pseudonyms`); both files have the ids.

    Raises
    ------
    KTError
        For a file that cannot be read or estimates that do not fit the responses.
    """
    names = pseudonyms() if pseudonymise else None
    estimates = read_mastery(mastery, names)
    path = Path(responses)
    table, notes = read_table(path, format, columns or {}, pseudonyms=names)
    return audit(estimates, Dataset(path.stem, table, notes), sees, resamples)


def write_audit(audited: Audited, folder: str | Path) -> Path:
    """All numbers as `metrics.json`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    content = {"sees": audited.sees, "covered": audited.covered}
    content |= {name: getattr(audited.measures, name).to_dict("records") for name in TABLES}
    write_text(folder / "metrics.json", json.dumps(plain(content), indent=2) + "\n")
    return folder
