"""Other knowledge tracers behind one interface (`kt_core.evaluation.tracer.Tracer`).

`counts`: counts of earlier answers, and the skill base rate; `logistic`: PFA and Best-LR;
`factors`: Rasch and AFM, with their `ability`; `skeleton`: that of mode `retrospective`; `bkt`:
Bayesian Knowledge Tracing; `neural`: DKT, SAKT, simpleKT and AKT, with their `networks`, `akt` and
the `search` that tunes them. `registry`: all of them by name, with those that a user registers.
"""
