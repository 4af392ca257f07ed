"""What keeps turning beside the tasks: loops that one process or the whole fleet needs."""
