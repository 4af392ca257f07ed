"""Prometheus: what a worker process counts, and what is read from it when somebody asks.

    spine ──batches of events──▶ tallies ─┐
    process: slots, pool, loop ───────────┼─▶ families ─▶ text ─▶ /metrics, `uow.metrics_app()`
    leader: a look at the backlog ────────┘

Counting is plain Python on the event loop. prometheus-client makes the text, and is imported when
somebody wants one. Nothing here is needed for the work: what fails is logged, and changes nothing.
"""
