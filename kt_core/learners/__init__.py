"""Single learners: mastery now, one prediction explained, cohorts, pages for a class."""
