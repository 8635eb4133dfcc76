"""The skeleton alone is what it says while its network is silent."""

import numpy as np
import pytest
import torch

from kt_core.base.errors import KTError
from kt_core.baselines.skeleton import SkeletonTracer
from kt_core.data import loader
from kt_core.evaluation.tracer import from_mastery


def test_predictions_are_those_of_the_skeleton(smoke):
    splits = smoke[1]
    tracer = SkeletonTracer(steps=10)
    with pytest.raises(KTError, match="fit it on splits first"):
        tracer.trace(splits.test)
    tracer.fit(splits)
    trace, model, whole = tracer.trace(splits.test), tracer.model, splits.test.whole()
    for batch in loader(whole, 4096):
        d = model.difficulty(batch.items)
        logits = model.heads.skeleton.read(batch.skills, batch.responses, d).logits
        for row, index in enumerate(batch.index.tolist()):
            own = slice(whole.starts[index] + 1, whole.starts[index] + whole.lengths[index])
            want = torch.sigmoid(logits[row, 1 : whole.lengths[index]]).detach().numpy()
            got, scored = trace.predicted[own], ~np.isnan(trace.predicted[own])
            np.testing.assert_allclose(got[scored], want[scored], atol=1e-5)
    known = ~np.isnan(trace.predicted)
    again = from_mastery(trace.mastery_pre, trace.difficulty)[known]
    np.testing.assert_allclose(trace.predicted[known], again, atol=1e-6)
    assert (trace.form[known] == 0).all() and (trace.network[known] == 0).all()
    assert (trace.flip >= 0).all()
