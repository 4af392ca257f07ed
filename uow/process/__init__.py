"""A process of the operating system: its heart, its end, its children, who keeps it running."""
