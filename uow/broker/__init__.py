"""The Redis side, blind to Postgres: arq's keys, our bytes, the scripts and the connection."""
