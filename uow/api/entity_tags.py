"""ETags: whoever asks again for what has not changed is told so, and is sent nothing."""

import hashlib

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

_NOT_MODIFIED = 304


def tagged(request: Request, answer: BaseModel) -> Response:
    """The answer as JSON with its ETag; 304 without it for who has it (`If-None-Match`)."""
    body = answer.model_dump_json().encode()
    tag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
    if _has(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=_NOT_MODIFIED, headers={"ETag": tag})
    return Response(body, media_type="application/json", headers={"ETag": tag})


def _has(given: str, tag: str) -> bool:
    tags = {one.strip().removeprefix("W/") for one in given.split(",")}
    return tag in tags or "*" in tags
