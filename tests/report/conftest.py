"""A run that is examined once for all tests of this room."""

import pytest


@pytest.fixture(scope="session")
def examined(trained):
    from kt_core.report.examine import examine

    return examine(trained.path)
