"""An audit from files to files."""

from __future__ import annotations

import json
from pathlib import Path

from kt_core.audit.estimates import Audited, audit, read_mastery
from kt_core.config import RunConfig, with_overrides
from kt_core.data.pseudonyms import pseudonyms
from kt_core.data.readers import read_table
from kt_core.data.table import Dataset
from kt_core.files import make_folder, write_text
from kt_core.reporting import plain
from kt_core.values import path_of, whole_number

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
    resamples = whole_number("resamples", resamples, 20, 10**5)
    names = pseudonyms() if pseudonymise else None
    estimates = read_mastery(path_of("mastery", mastery), names)
    path = path_of("responses", responses)
    reading = {"data.format": format, "data.columns": columns or {}}
    data = with_overrides(RunConfig(), reading).data  # checked as a run's would be
    table, notes = read_table(path, data.format, data.columns, pseudonyms=names)
    return audit(estimates, Dataset(path.stem, table, notes), sees, resamples)


def write_audit(audited: Audited, folder: str | Path) -> Path:
    """All numbers as `metrics.json`."""
    folder = make_folder(folder)
    content = {"sees": audited.sees, "covered": audited.covered}
    content |= {name: getattr(audited.measures, name).to_dict("records") for name in TABLES}
    write_text(folder / "metrics.json", json.dumps(plain(content), indent=2) + "\n")
    return folder
