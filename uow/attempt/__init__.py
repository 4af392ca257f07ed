"""One run of a task by one worker, the same under either engine."""
