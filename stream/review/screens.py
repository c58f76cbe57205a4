"""The analysts' pages: the queue, one case, and how numbers are written for people."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates

from features.money import exponent
from features.profile import Profile
from stream.decisions import ReasonRecord
from stream.review.api import State
from stream.review.queue import STATES, ReviewQueue

PAGES = Path(__file__).parent / "pages"

ON_PAGE = 50

NOT_KNOWN = "none"


def add_pages(app: FastAPI, queue: ReviewQueue, profile: Profile) -> None:
    """Put the pages and their static files into the app."""
    app.mount("/static", StaticFiles(directory=PAGES / "static"))
    app.include_router(_routes(queue, _templates(profile)))


def _templates(profile: Profile) -> Jinja2Templates:
    templates = Jinja2Templates(PAGES)
    templates.env.filters |= {"money": money, "share": share, "number": number, "times": times, "part": part}
    templates.env.globals |= {"words": profile.words, "bars": bars, "profile": profile.name, "states": STATES}
    return templates


def _routes(queue: ReviewQueue, templates: Jinja2Templates) -> APIRouter:
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

    @routes.get("/")
    def page(request: Request, state: State = "open") -> Any:
        found = {"cases": queue.alerts(ON_PAGE, state), "stats": queue.statistics(), "state": state}
        return templates.TemplateResponse(request, "queue.html", found)

    @routes.get("/cases")
    def cases(request: Request, state: State = "open") -> Any:
        """The list alone: what the page asks for again every two seconds."""
        found = {"cases": queue.alerts(ON_PAGE, state), "state": state}
        return templates.TemplateResponse(request, "cases.html", found)

    @routes.get("/case/{alert_id:path}")
    def case(request: Request, alert_id: str) -> Any:
        found = {"case": queue.case(alert_id), "stats": queue.statistics(), "alert_id": alert_id}
        status = 200 if found["case"] else 404
        return templates.TemplateResponse(request, "case.html", found, status_code=status)

    return routes


def money(minor: int, currency: str) -> str:
    """An amount for people.

    >>> money(123456, "EUR"), money(-5, "JPY"), money(9007199254740993, "USD")
    ('1,234.56 EUR', '-5 JPY', '90,071,992,547,409.93 USD')
    """
    return f"{Decimal(minor).scaleb(-exponent(currency)):,} {currency}"


def share(value: float | None) -> str:
    """A share in percent; a dash where there is none.

    >>> share(0.0123), share(0.5), share(None)
    ('1.23%', '50.0%', '-')
    """
    return "-" if value is None else f"{value:.2%}" if value < 0.1 else f"{value:.1%}"


def times(value: float | None) -> str:
    """A ratio; a dash where there is none.

    >>> times(6.12), times(None)
    ('6.1 x', '-')
    """
    return "-" if value is None else f"{value:.1f} x"


def number(value: float | None) -> str:
    """A feature's value, short.

    >>> number(12345.6), number(0.123456), number(3.0), number(None)
    ('12,346', '0.1235', '3', 'none')
    """
    if value is None:
        return NOT_KNOWN
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.4g}"


def part(text: str) -> str:
    """A text as one part of an address: an event's id may hold anything.

    >>> part("alert-a/b?c")
    'alert-a%2Fb%3Fc'
    """
    return quote(text, safe="")


def bars(reasons: Sequence[ReasonRecord]) -> list[tuple[ReasonRecord, int]]:
    """Reasons with the length of their bar, 0 to 100, relative to the strongest."""
    strongest = max((abs(reason.weight) for reason in reasons), default=0.0) or 1.0
    return [(reason, round(100 * abs(reason.weight) / strongest)) for reason in reasons]
