"""The HTML pages: shells that the static scripts fill from the API."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from facegate.console.hosts.routes import VIA
from facegate.console.languages import COOKIE, LANGUAGES, catalog, language_of
from facegate.console.problems import PROBLEMS
from facegate.console.security.accounts import Principal
from facegate.console.security.permissions import is_seen, may_request
from facegate.console.state import ConsoleState
from facegate.console.web.errors import ConsoleDep
from facegate.pipeline.config.values import NAME_PATTERN

HERE = Path(__file__).parent
STATIC = HERE / "static"
PAGES = {
    "live": "Live",
    "visits": "Visits",
    "journeys": "Journeys",
    "search": "Search",
    "people": "People",
    "lists": "Watch lists",
    "tune": "Tune",
    "cameras": "Cameras",
    "alarms": "Alarms",
    "notifications": "Notifications",
    "accounts": "Accounts",
    "storage": "Storage",
    "health": "Health",
}
FLEET = {"fleet": "Fleet"}
HOSTS = {"hosts": "Hosts"}
router = APIRouter(include_in_schema=False)
_templates = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=select_autoescape())


@router.get("/")
def start() -> RedirectResponse:
    """Redirect to the first page."""
    return RedirectResponse("live", 303)


@router.get("/healthz")
def healthz(console: ConsoleDep, request: Request) -> JSONResponse:
    """Health check: 200 while the gate and the worker run, or no camera is enabled; else 503."""
    ok, health = console.healthy(), console.supervisor.health()
    opened = console.alarms.open()
    # Names of cameras are not for everybody who can reach this host.
    principal: Principal | None = request.state.principal
    may_know = principal is not None and principal.cameras is None
    shown = [msgspec.structs.asdict(alarm) for alarm in opened] if may_know else []
    body = {
        "ok": ok,
        "gate": health.gate.running,
        "worker": health.worker.running,
        "alarms": Counter(alarm.kind for alarm in opened),
        "open": shown,
    }
    return JSONResponse(body, 200 if ok else 503)


@router.get("/login")
def login(console: ConsoleDep, request: Request) -> Response:
    """Login page."""
    if not console.accounts.auth_required():
        return RedirectResponse("live", 303)
    return _page(request, "login.html", title="Log in")


@router.get("/api/docs")
def docs(console: ConsoleDep, request: Request) -> HTMLResponse:
    """Documentation of the API."""
    schema = request.app.openapi()
    return _page(
        request,
        "docs.html",
        root="../",
        title="API",
        pages=_pages(console),
        page="docs",
        routes=_routes(schema),
        schemas=_schemas(schema),
        problems=PROBLEMS,
    )


@router.get("/{page}")
def page(console: ConsoleDep, page: str, request: Request) -> Response:
    """A page, or a 404 page."""
    principal: Principal = request.state.principal
    pages = _allowed(console, principal)
    if page not in pages:
        return _page(request, "missing.html", 404, title="Page not found", pages=pages, page="")
    return _page(
        request, "page.html", title=pages[page], pages=pages, page=page, principal=principal,
        cameras=_cameras(console, principal),
    )  # fmt: skip


@router.get("/visits/{run_id}/{camera}/{track_id}")
def visit(console: ConsoleDep, request: Request) -> HTMLResponse:
    """The page of one visit; its script reads which one from the address."""
    principal: Principal = request.state.principal
    return _page(
        request,
        "page.html",
        root="../../../",
        title="Visit",
        pages=_allowed(console, principal),
        page="visits",
        script="visit_page",
        principal=principal,
        cameras=_cameras(console, principal),
    )


def _cameras(console: ConsoleState, principal: Principal) -> dict[str, str]:
    """Names of cameras for people, of those that the user may see."""
    return {name: label for name, label in console.camera_labels().items() if is_seen(principal.cameras, name)}


def _allowed(console: ConsoleState, principal: Principal) -> dict[str, str]:
    return {name: title for name, title in _pages(console).items() if may_request(principal, f"/{name}")}


def _pages(console: ConsoleState) -> dict[str, str]:
    return PAGES | (FLEET if console.fleet is not None else {}) | (HOSTS if console.peers else {})


def _page(request: Request, template: str, status: int = 200, *, root: str = "", **values: Any) -> HTMLResponse:
    """Render a page; ``root`` leads from its path to the console's, so that links work below any prefix."""
    language = language_of(request)
    texts = catalog(language)
    via = request.headers.get(VIA, "")
    shown_as = via if re.fullmatch(NAME_PATTERN, via) else ""
    common = {
        "language": language, "languages": LANGUAGES, "chosen": request.cookies.get(COOKIE), "shown_as": shown_as,
    }  # fmt: skip
    page = _templates.get_template(template).render(
        root=root, t=lambda text: texts.get(text, text), **common, **values
    )
    return HTMLResponse(page, status)


def _routes(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "method": method.upper(),
            "path": path,
            "words": route.get("description") or route.get("summary", ""),
            "parameters": route.get("parameters", []),
            "body": _name(route.get("requestBody", {})),
            "response": next(
                (_name(answer) for status, answer in route["responses"].items() if status.startswith("2")), ""
            ),
        }
        for path, routes in schema["paths"].items()
        for method, route in routes.items()
    ]


def _name(holder: dict[str, Any]) -> str:
    for kind, content in holder.get("content", {}).items():
        found = content.get("schema", {})
        reference = found.get("$ref") or found.get("items", {}).get("$ref", "")
        return str(reference).rpartition("/")[2] or kind
    return ""


def _schemas(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "words": each.get("description", ""),
            "fields": [
                {"name": field, "type": _type(about), "required": field in each.get("required", [])}
                for field, about in each.get("properties", {}).items()
            ],
        }
        for name, each in sorted(schema["components"]["schemas"].items())
    ]


def _type(about: dict[str, Any]) -> str:
    if "$ref" in about:
        return str(about["$ref"]).rpartition("/")[2]
    if "anyOf" in about:
        return " or ".join(_type(each) for each in about["anyOf"])
    if about.get("type") == "array":
        return "list of " + _type(about.get("items", {}))
    return str(about.get("type", "anything"))
