"""Programs that show what is promised: under fire (`chaos`), and in figures (`bench`)."""
