"""What a teacher can read: a class page, and a page for each learner."""

from kt_core.learners.classroom.pages import classroom
