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
    "to_csv": "report.export",
    "to_latex": "report.export",
    "train": "training.train",
}
__all__ = list(_HOME)

TYPE_CHECKING = False
if TYPE_CHECKING:  # for type checkers and editors; `x as x` hands it on
    from kt_core import losses as losses
    from kt_core import plots as plots
    from kt_core.base.errors import KTError as KTError
    from kt_core.config import RunConfig as RunConfig
    from kt_core.data.registry import read_splits as read_splits
    from kt_core.evaluation.evaluate import evaluate as evaluate
    from kt_core.learners.explain import explain as explain
    from kt_core.learners.predict import LiveLearner as LiveLearner
    from kt_core.learners.predict import predict as predict
    from kt_core.model import GainAKT2 as GainAKT2
    from kt_core.monitor import Monitor as Monitor
    from kt_core.presets import configure as configure
    from kt_core.report.examine import examine as examine
    from kt_core.report.export import to_csv as to_csv
    from kt_core.report.export import to_latex as to_latex
    from kt_core.runs.find import open_run as open_run
    from kt_core.tracing.audit import audit as audit
    from kt_core.tracing.compare import compare as compare
    from kt_core.tracing.demo import demo as demo
    from kt_core.tracing.folds import cross_validate as cross_validate
    from kt_core.tracing.own import judge as judge
    from kt_core.tracing.own import register as register
    from kt_core.tracing.tracer import KnowledgeTracer as KnowledgeTracer
    from kt_core.tracing.tracer import fit as fit
    from kt_core.tracing.tracer import load as load
    from kt_core.training.train import train as train
else:

    def __getattr__(name: str):
        if name not in _HOME:
            raise AttributeError(f"module 'kt_core' has no attribute {name!r}")
        home = _HOME[name]
        if not home:
            return import_module(f"kt_core.{name}")
        return getattr(import_module(f"kt_core.{home}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
