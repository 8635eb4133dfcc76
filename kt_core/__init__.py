"""Knowledge tracing with cumulative mastery, and the evidence on whether to trust it.

Data flows one way: `data` (table, sequences, batches), `model`, `losses`, `training` with its
`monitor`, `evaluate` (evidence), `validation` and `diagnostics` (measures), `reporting`, `plots`.
The notebooks call `workflow` and `cohort`; the command line (`cli`) runs the notebooks.
"""

__version__ = "0.1.0"
