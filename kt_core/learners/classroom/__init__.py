"""What a teacher can read: a class page, and a page for each learner."""

from kt_core.learners.classroom.pages import classroom
from kt_core.learners.classroom.tables import (
    learning_curves,
    next_for_class,
    next_practice,
    standing,
)

__all__ = ["classroom", "learning_curves", "next_for_class", "next_practice", "standing"]
