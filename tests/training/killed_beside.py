"""`python -m kt_core`, whose first process is killed in the validation of the second epoch."""

import sys

from kt_core.base import processes
from kt_core.cli import commands as cli
from kt_core.training.checkpoints import Checkpoints
from tests.training.killed import at_call

if not processes.rank():
    at_call(Checkpoints, "on_validation_epoch_start", 2)
sys.exit(cli.main())
