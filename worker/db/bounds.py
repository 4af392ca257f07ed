"""What a column of a task may say, and the id of a row that gives none, as Postgres has it."""

NAME = (
    "char_length(VALUE) >= 1 AND char_length(VALUE) <= 512 "
    r"""AND (VALUE COLLATE "C") !~ '[\x01-\x1f\x7f-\x9f]'"""
)
"""Of a name or a queue."""

ARGS = r"""
json_typeof(VALUE) = 'object' AND
CASE WHEN strpos(VALUE::text, '\u') > 0 THEN VALUE::jsonb IS NOT NULL ELSE true END
"""
"""An object; and where there are escapes, none that could not be read: a NUL, half a pair."""

ENDED = "VALUE IN ('failed', 'cancelled')"

PRIORITY = "VALUE >= 0 AND VALUE <= 9"

RUN_AT = "VALUE >= '1970-01-01 00:00:00+00' AND VALUE < '9999-12-31 00:00:00+00'"
"""What Python can read, and Redis keep as a score."""

NEW_ID = (
    "((regexp_replace(lpad(to_hex(((((date_part('epoch'::text, clock_timestamp()) * "
    "(1000000)::double precision))::bigint * 512) / 125)), 15, '0'::text), "
    r"""'(...)$'::text, '7\1'::text) || "right"((gen_random_uuid())::text, 17)))::uuid"""
)
"""A UUIDv7 as `worker.ids` makes it; in the words in which Postgres shows it."""
