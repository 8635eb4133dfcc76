"""The command line: what it accepts, and the thin launchers that run the notebooks."""

from kt_core.cli.commands import entry, main
