"""The ASGI app: API, pages and access control."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.staticfiles import StaticFiles

from facegate.console.alarms import routes as alarms
from facegate.console.alarms.journal import Alarm
from facegate.console.alarms.watcher import AlarmWatcher
from facegate.console.hosts import routes as other_hosts
from facegate.console.hosts.peers import PeerClient
from facegate.console.metrics import CountRequests
from facegate.console.notifications import routes as notifications
from facegate.console.security import routes as accounts
from facegate.console.security.audit import AuditMiddleware
from facegate.console.security.middleware import AccessMiddleware
from facegate.console.security.proxy import NO_PROXY, ProxySettings
from facegate.console.state import ConsoleState
from facegate.console.store_watcher import StoreWatcher
from facegate.console.web import (
    cameras,
    fleet,
    live,
    pages,
    people,
    retention,
    score,
    search,
    system,
    tuning,
    watch_lists,
)
from facegate.console.web.errors import add_problems, declare_problems
from facegate.console.web.visits import confirmations, corrections, evidence, exports, journeys, lists
from facegate.sinks.wire import SOFTWARE

API = "/api/v1"


class _Api(FastAPI):
    """An app whose OpenAPI document declares errors as problem documents."""

    def openapi(self) -> dict[str, Any]:
        """See FastAPI; built once."""
        if self.openapi_schema is None:
            declare_problems(super().openapi())
        return super().openapi()


def create_app(console: ConsoleState, hosts: Collection[str] = (), proxy: ProxySettings = NO_PROXY) -> FastAPI:
    """Build the app.

    Args:
        console: services of the app; its owner closes it after the app has ended.
        hosts: host names that are accepted in addition to addresses.
        proxy: the reverse proxy in front of the console.
    """

    def on_alarms(changed: list[Alarm]) -> None:
        alarms.publish_alarms(console, changed)
        console.notifier.on_alarms(changed)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, PeerClient]]:
        watcher = StoreWatcher(
            console.broker,
            console.store,
            console.folder,
            console.limits,
            lambda: cameras.states(console),
            lambda: console.supervisor.health().worker.running,
            console.kept,
            console.people.forget_unknowns_before,
        )
        console.broker.begin()
        tasks = [asyncio.create_task(watcher.follow()), asyncio.create_task(watcher.apply_retention())]
        tasks.append(asyncio.create_task(watcher.end_abandoned()))
        watching = AlarmWatcher(
            console,
            console.alarms,
            lambda: cameras.camera_list(console).cameras,
            on_alarms,
        )
        await asyncio.to_thread(watching.__enter__)
        try:
            async with peers:
                yield {"peers": peers}
        finally:
            await asyncio.to_thread(watching.close)
            console.broker.end()
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    peers = PeerClient(console.peers)
    app = _Api(
        title="facegate",
        version=SOFTWARE,
        description="Cameras, visits, people, tuning and health. Errors are problem documents (RFC 9457).",
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        middleware=[
            Middleware(CountRequests, requests=console.requests),
            Middleware(AccessMiddleware, accounts=console.accounts, hosts=hosts, proxy=proxy),
            Middleware(AuditMiddleware, audit=console.audit),
        ],
    )
    app.state.console = console
    add_problems(app)
    about_visits = (lists, journeys, corrections, confirmations, evidence, exports)
    about_people = (people, score, notifications, accounts)
    for part in (
        cameras,
        *about_visits,
        search,
        *about_people,
        watch_lists,
        retention,
        tuning,
        live,
        fleet,
        other_hosts,
        alarms,
        system,
    ):
        app.include_router(part.router, prefix=API)
    app.include_router(other_hosts.pages)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    return app
