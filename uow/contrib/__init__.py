"""What joins us with other products. Each needs an extra, and is imported by who wants it.

Everything here stands on what is public: `uow.events`, `@on_enqueue`, headers.
"""
