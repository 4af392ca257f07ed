"""Anybody's arq functions on our engine: what arq does for a job, without its traps."""
