"""ETags: whoever asks again for what has not changed is told so, and is sent nothing."""

import hashlib

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

_OK, _NOT_MODIFIED = 200, 304


def tagged(request: Request, response: Response) -> Response:
    """The response with its ETag; 304 without a body for who has it (`If-None-Match`).

    A stream, and what is no answer, is left as it is.
    """
    if isinstance(response, StreamingResponse) or response.status_code != _OK:
        return response
    tag = f'"{hashlib.blake2b(response.body, digest_size=16).hexdigest()}"'
    if _has(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=_NOT_MODIFIED, headers={"ETag": tag})
    response.headers["ETag"] = tag
    return response


def _has(given: str, tag: str) -> bool:
    tags = {one.strip().removeprefix("W/") for one in given.split(",")}
    return tag in tags or "*" in tags
