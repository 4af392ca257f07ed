"""The HTTP API: tasks and health over FastAPI, and the dependencies a service can use.

A request's way, from the outside to the inside: `HeaderWriter`, `ErrorAnswerer`, `Guard` (a token,
or this machine), `BodyLimit`, route, session. The session's commit is done before the response is
sent, so what the caller is told has happened. Whatever goes wrong is answered as problem details.
"""
