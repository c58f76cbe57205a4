"""The HTTP interface: /api/v1 for programs, /healthz, /readyz and /metrics for those who watch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from fastapi import APIRouter, Body, HTTPException, Query, Request, Response
from sqlalchemy.exc import SQLAlchemyError

from stream.decisions import DecisionRecord
from stream.review.ledger import Ledger
from stream.review.outbox import Outbox
from stream.review.posting import Desk, PostError
from stream.review.queue import Case, NoSuchAlert, QueueError, ReviewQueue, Statistics

ANSWERS = (Statistics, Case, DecisionRecord)
"""What the interface answers with: their schemas stand in /api/v1/openapi.json."""

REFERENCES = "#/components/schemas/{name}"

State = Literal["open", "fraud", "legitimate"]


def watching(ledger: Ledger, exposition: Callable[[], bytes]) -> APIRouter:
    """The routes for those who watch; `exposition` makes the text of a scrape."""
    routes = APIRouter(tags=["watching"])

    @routes.get("/healthz")
    def healthz() -> dict[str, str]:
        """The process lives."""
        return {"status": "ok"}

    @routes.get("/readyz", responses={503: {"description": "the database does not answer"}})
    def readyz() -> dict[str, str]:
        """The database answers."""
        try:
            ledger.counters()
        except SQLAlchemyError as error:
            raise HTTPException(503, f"the database does not answer: {type(error).__name__}") from error
        return {"status": "ready"}

    @routes.get("/metrics", response_class=Response)
    def metrics() -> Response:
        """Metrics in Prometheus' text format: this process's, and those of all parts of a `weir up`."""
        return Response(exposition(), media_type="text/plain; version=0.0.4")

    return routes


def reviewing(queue: ReviewQueue, outbox: Outbox) -> APIRouter:
    """The routes of the queue."""
    routes = APIRouter(prefix="/api/v1", tags=["review"])

    @routes.get("/stats", responses=answer(Statistics))
    def stats() -> Response:
        """How the stream and its alerts do; shares are null where nothing was labelled yet."""
        return as_json(queue.statistics())

    @routes.get("/alerts", responses=answer(list[Case]))
    def alerts(state: State = "open", limit: int = Query(50, ge=1, le=500)) -> Response:
        """Alerts in one state: the open ones by score, the others newest first."""
        return as_json(queue.alerts(limit, state))

    @routes.get("/alerts/{alert_id:path}", responses=answer(Case, 404))
    def alert(alert_id: str) -> Response:
        """One alert with its whole decision."""
        case = queue.case(alert_id)
        if case is None:
            raise HTTPException(404, f"there is no alert {alert_id!r}")
        return as_json(case)

    @routes.post("/alerts/{alert_id:path}/verdict", responses={404: {"description": "no such alert"}})
    def verdict(alert_id: str, verdict: str = Body(embed=True)) -> dict[str, str]:
        """Say what an alert was: "fraud" or "legitimate". It becomes a label on the stream.

        Another verdict later takes the first one back; the same one again changes nothing.
        """
        try:
            queue.give(alert_id, verdict)
        except NoSuchAlert as error:
            raise HTTPException(404, str(error)) from error
        except QueueError as error:
            raise HTTPException(422, str(error)) from error
        outbox.poke()
        return {"alert_id": alert_id, "state": verdict}

    return routes


def scoring(ledger: Ledger, desk: Desk) -> APIRouter:
    """The routes of events and their decisions."""
    routes = APIRouter(prefix="/api/v1", tags=["scoring"])

    @routes.get("/decisions/{event_id:path}", responses=answer(DecisionRecord, 404))
    def decision(event_id: str) -> Response:
        """The complete decision of an event."""
        record = ledger.decision(desk.known_id(event_id))
        if record is None:
            raise HTTPException(404, f"no decision of {event_id!r} is recorded (yet)")
        return Response(record, media_type="application/json")

    @routes.post("/score", responses=answer(DecisionRecord, 409, 413, 422, 503, 504), openapi_extra=EVENT)
    async def score(request: Request) -> Response:
        """Append an event (the fields of the source, as JSON) to the stream, and answer with its decision.

        The stream scores it, not this process. The same event again gets the decision that it got the first time.
        """
        try:
            decided = await desk.post(request.stream())
        except PostError as error:
            raise HTTPException(error.status, str(error), error.headers) from error
        return Response(decided, media_type="application/json")

    return routes


EVENT = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}

MEANINGS = {
    404: "there is none",
    409: "this id was decided before, with another content",
    413: "the event is too long",
    422: "not an event that the profile can read: which field, what is expected, what was found",
    503: "not taken now, see Retry-After",
    504: "on the stream, but not decided in time, see Retry-After",
}


def as_json(value: object) -> Response:
    """A record of ours as the answer."""
    return Response(msgspec.json.encode(value), media_type="application/json")


def answer(kind: Any, *refusals: int) -> dict[int | str, dict[str, Any]]:
    """How OpenAPI is told what a route answers with."""
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=REFERENCES)
    answers: dict[int | str, dict[str, Any]] = {
        status: {"description": MEANINGS[status]} for status in refusals
    }
    return {200: {"content": {"application/json": {"schema": schema}}}, **answers}


def schemas() -> dict[str, Any]:
    """The schemas that `answer` refers to."""
    return msgspec.json.schema_components(ANSWERS, ref_template=REFERENCES)[1]
