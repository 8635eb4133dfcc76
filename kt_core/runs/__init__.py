"""Run folders: written by training, found, read back, resumed."""

from kt_core.runs.find import find_runs, open_run, run_folder
from kt_core.runs.resume import half_run
from kt_core.runs.run import Run
