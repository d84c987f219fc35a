"""The studio: a page in the same server, made of five files and no build step."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import Response

router = APIRouter()
HERE = Path(__file__).parent
FILES = {
    "studio.css": "text/css",
    "studio.js": "text/javascript",
    "controls.js": "text/javascript",
    "moves.js": "text/javascript",
    "index.html": "text/html",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@router.get("/", include_in_schema=False)
async def page() -> Response:
    """The page itself."""
    return _file("index.html")


@router.get("/studio/studio.css", include_in_schema=False)
async def style() -> Response:
    """How it looks."""
    return _file("studio.css")


@router.get("/studio/studio.js", include_in_schema=False)
async def script() -> Response:
    """What it does."""
    return _file("studio.js")


@router.get("/studio/controls.js", include_in_schema=False)
async def controls() -> Response:
    """How controls of a film are asked for."""
    return _file("controls.js")


@router.get("/studio/moves.js", include_in_schema=False)
async def moves() -> Response:
    """What the keys do in the live world."""
    return _file("moves.js")


def _file(name: str) -> Response:
    return Response((HERE / name).read_bytes(), media_type=f"{FILES[name]}; charset=utf-8", headers=HEADERS)
