"""The web page and its static files."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

router = APIRouter()

_WEB = Path(__file__).resolve().parents[1] / "web"


@router.get("/", include_in_schema=False)
async def index() -> FileResponse:
    """The chat page."""
    return FileResponse(_WEB / "index.html", headers={"Cache-Control": "no-cache"})


def static_files() -> StaticFiles:
    """Scripts and styles of the page."""
    return StaticFiles(directory=_WEB)
