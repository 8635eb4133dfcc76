"""Knowledge tracing with cumulative mastery, and the evidence on whether to trust it.

Data flows one way: `data` (table, sequences, batches), `model`, `losses`, `training` with its
`monitor`, `evaluate`, `validation` (measures), `reporting` and `plots`. The notebooks call
`workflow`; the command line (`cli`) runs the notebooks.
"""

__version__ = "0.1.0"
