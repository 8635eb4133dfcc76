"""Knowledge tracers to compare with, all behind the interface `kt_core.trace.Tracer`.

`counts`: what a learner has done so far, and the skill base rate; `logistic`: PFA and Best-LR;
`bkt`: Bayesian Knowledge Tracing.
"""
