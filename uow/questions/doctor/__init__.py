"""What is wrong with an installation: `worker doctor`.

A file is a subject, and in it each function is a check that looks at one thing and returns what it
has found. `uow.questions.doctor.examination` runs them all.
"""
