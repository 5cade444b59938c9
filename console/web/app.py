"""The app: API, pages and what guards them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.staticfiles import StaticFiles

from facegate.console.metrics import CountRequests
from facegate.console.security.middleware import AccessMiddleware
from facegate.console.state import ConsoleState
from facegate.console.store_watcher import StoreWatcher
from facegate.console.web import cameras, fleet, live, pages, people, score, system, tuning, visits
from facegate.console.web.errors import add_problems
from facegate.sinks.wire import SOFTWARE

API = "/api/v1"


def create_app(console: ConsoleState, hosts: Collection[str] = ()) -> FastAPI:
    """Build the app.

    Args:
        console: what it shows; its owner closes it after the app has ended.
        hosts: names of this host beside its addresses.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        follower = StoreWatcher(
            console.broker,
            console.store,
            console.folder,
            console.limits,
            lambda: cameras.states(console),
            lambda: console.supervisor.health().worker.running,
        )
        console.broker.begin()
        tasks = [asyncio.create_task(follower.follow()), asyncio.create_task(follower.apply_retention())]
        tasks.append(asyncio.create_task(follower.end_abandoned()))
        try:
            yield
        finally:
            console.broker.end()
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    app = FastAPI(
        title="facegate",
        version=SOFTWARE,
        description="What cameras show, who was there, and what the gate let through.",
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        middleware=[
            Middleware(CountRequests, requests=console.requests),
            Middleware(AccessMiddleware, accounts=console.accounts, hosts=hosts),
        ],
    )
    app.state.console = console
    add_problems(app)
    for part in (cameras, visits, people, score, tuning, live, fleet, system):
        app.include_router(part.router, prefix=API)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    return app
