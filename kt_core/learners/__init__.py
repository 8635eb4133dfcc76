"""Single learners: mastery now, one prediction explained, cohorts, pages for a class."""

from kt_core.learners.explain import explain
from kt_core.learners.predict import LiveLearner, predict
