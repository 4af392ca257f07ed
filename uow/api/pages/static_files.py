"""The files that pages are made with: a style sheet, a script, an icon. There are no others."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from fastapi import APIRouter, HTTPException, Request, Response


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is served.

    Attributes:
        version: Stands in its address, so that browsers may keep it for good.
    """

    content: bytes
    media_type: str
    version: str


_MEDIA_TYPES: Final = {
    "site.css": "text/css; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


def _read(name: str, media_type: str) -> StaticFile:
    content = files("uow.api.pages").joinpath("static", name).read_bytes()
    return StaticFile(content, media_type, hashlib.blake2b(content, digest_size=8).hexdigest())


STATIC_FILES: Final = {name: _read(name, kind) for name, kind in _MEDIA_TYPES.items()}
"""By name. Read once, when the API starts."""

router = APIRouter(prefix="/ui/static", include_in_schema=False)


@router.get("/{name}")
async def serve_file(request: Request, name: str, v: str = "") -> Response:
    """One of them; there are no others, so no path leads anywhere else."""
    found = STATIC_FILES.get(name)
    if found is None:
        raise HTTPException(404, "there is no such file")
    # An address with the version is that of this content for good; another may change its content.
    kept = "public, max-age=31536000, immutable" if v == found.version else "no-cache"
    headers = {"ETag": f'"{found.version}"', "Cache-Control": kept}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(found.content, media_type=found.media_type, headers=headers)
