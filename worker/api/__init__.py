"""The application's routes, beside those of the library."""
