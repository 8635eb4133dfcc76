"""``python -m kt_core``."""

import sys

from kt_core.cli import main

sys.stdout.reconfigure(errors="backslashreplace")  # names that this terminal cannot show
sys.exit(main())
