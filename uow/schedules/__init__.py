"""Tasks that the clock asks for: what is written, when it is due, what became of each tick."""
