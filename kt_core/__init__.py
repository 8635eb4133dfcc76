"""Knowledge tracing with cumulative mastery, and the evidence on whether to trust it.

The files in this folder are the core: settings, model, losses, monitor, uncertainty. The folders
are rooms around it; the `__init__` of each says what happens there (docs/architecture.md has the
plan). The names below are loaded on first use, so importing the package costs almost nothing.
"""

from importlib import import_module

__version__ = "0.2.0"

_HOME = {
    "GainAKT2": "model",
    "KTError": "base.errors",
    "KnowledgeTracer": "tracing.tracer",
    "LiveLearner": "learners.predict",
    "Monitor": "monitor",
    "RunConfig": "config",
    "audit": "tracing.audit",
    "compare": "tracing.compare",
    "configure": "presets",
    "cross_validate": "tracing.folds",
    "demo": "tracing.demo",
    "evaluate": "evaluation.evaluate",
    "examine": "report.examine",
    "explain": "learners.explain",
    "fit": "tracing.tracer",
    "judge": "tracing.own",
    "load": "tracing.tracer",
    "losses": "",
    "open_run": "runs.find",
    "plots": "",
    "predict": "learners.predict",
    "read_splits": "data.registry",
    "register": "tracing.own",
    "train": "training.train",
}
__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'kt_core' has no attribute {name!r}")
    home = _HOME[name]
    if not home:
        return import_module(f"kt_core.{name}")
    return getattr(import_module(f"kt_core.{home}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
