"""`worker doctor`: each check sees what is bad, and nothing where all is well."""
