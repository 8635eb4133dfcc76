"""``python -m kt_core``."""

import sys

from kt_core.cli import entry
from kt_core.cli.commands import MODULE

sys.exit(entry(MODULE))
