"""The worklist: what waits for somebody, of all clinics of an account or of one, by urgency.

Lines are made with the standings (tasks.py), so what a page costs does not grow with how long patients have been
treated. Whoever something was recorded of since is settled first: nobody reads an old line.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Final, NamedTuple, cast

from titrator.store.base import Where
from titrator.store.records import Clinic, Patient, UnmatchedResult, Waiting
from titrator.titration.documents import encode, reread
from titrator.titration.errors import Fault
from titrator.workflow.errors import Invalid
from titrator.workflow.propose import refuse_if_broken
from titrator.workflow.record import searched
from titrator.workflow.results import open_results
from titrator.workflow.silence import silent_feeds
from titrator.workflow.standing import settle_all, stand_on
from titrator.workflow.tasks import Task
from titrator.workflow.visit import Services, Visit, day_at

PAGE: Final = 50
#: A worklist of a day to come is computed while one waits: for so many patients at the most.
_MOST_COMPUTED: Final = 2000
_FURTHEST: Final = timedelta(days=31)
_SETTLING: Final = threading.Lock()


def settle_first(services: Services) -> None:
    """Make the lines of all patients of whom something was recorded, or whose day has changed; nothing if none."""
    now = services.clock()
    with services.store.reading() as session:
        clinics = services.still("clinics", lambda: session.find(Clinic))
    days = tuple(day_at(clinic, now) for clinic in clinics)
    with _SETTLING:  # one of many who wait at once does it, and the others find it done
        services.still(("settled", days), lambda: settle_all(services, now))


class Page(NamedTuple):
    """A page of the worklist: its lines as JSON, `next` the cursor of the following page; tallies are of all lines."""

    on: str | None
    tallies: dict[str, int]
    unmatched_results: int
    silent_feeds: int
    next: str | None
    lines: list[str]


def worklist(visit: Visit, query: Mapping[str, object]) -> Page:
    """A page of the worklist with its tallies; raises Invalid for a day that is past or far, Unready."""
    refuse_if_broken(visit.services)
    scope = _scope(visit, cast("str | None", query.get("clinic")))
    only = cast("str | None", query.get("task"))
    on = cast("str | None", query.get("on"))
    words = searched(cast(str, query.get("text", ""))).split()
    limit, after = cast(int, query.get("limit", PAGE)), _place(cast("str | None", query.get("cursor")))
    ahead = [clinic for clinic in scope if on is not None and _is_ahead(visit, clinic, on)]
    if ahead:
        rows = _computed(visit, scope, cast(str, on))
        tallies = _tallied((row.tasks, 1) for row in rows)
        some = [
            row
            for row in rows
            if (row.rank, row.patient_id) > after
            and (only is None or only in row.tasks)
            and all(word in row.search_name for word in words)
        ]
    else:
        tallies = _tallies(visit, scope)
        having = [] if only is None else [Where("tasks", "contains", f'"{only}"')]
        having += [Where("search_name", "contains", word) for word in words]
        some = _kept(visit, scope, having, after, limit + 1)
    page, more = some[:limit], len(some) > limit
    visit.note("worklist", "worklist", on=on, found=[row.patient_id for row in page])
    following = f"{page[-1].rank}.{page[-1].patient_id}" if more else None
    unmatched = visit.session.count(UnmatchedResult, *open_results(visit, cast("str | None", query.get("clinic"))))
    silent = len(silent_feeds(visit.services, visit.session, [clinic.id for clinic in scope], visit.now))
    return Page(on, tallies, unmatched, silent, following, [row.line for row in page])


def as_sent(page: Page) -> str:
    """A page as JSON."""
    head = encode({name: getattr(page, name) for name in Page._fields if name != "lines"})
    return f'{head[:-1]}, "items": [{", ".join(page.lines)}]}}'


def lines_of(visit: Visit, patients: Iterable[str]) -> list[str]:
    """The lines of some patients of today, as JSON, by urgency; without those whom the actor may not see."""
    wanted = Where("patient_id", "in", tuple(patients))
    mine = [row for row in visit.session.find(Waiting, wanted) if row.clinic_id in visit.who.clinics]
    visit.note("worklist", "worklist", found=[row.patient_id for row in mine])
    return [row.line for row in sorted(mine, key=lambda row: (row.rank, row.patient_id))]


def _scope(visit: Visit, clinic: str | None) -> list[Clinic]:
    return [one for one in (visit.session.get(Clinic, ident) for ident in visit.clinics(clinic)) if one is not None]


def _is_ahead(visit: Visit, clinic: Clinic, on: str) -> bool:
    today = day_at(clinic, visit.now)
    last = (date.fromisoformat(today) + _FURTHEST).isoformat()
    if not today <= on <= last:
        raise Invalid(Fault("on", f"must be from {today}, today at the clinic, to {last}"))
    return on > today


def _place(cursor: str | None) -> tuple[int, str]:
    if cursor is None:
        return -1, ""
    rank, _, ident = cursor.partition(".")
    if not (rank.isascii() and rank.isdigit() and len(rank) < 10):
        raise Invalid(Fault("cursor", "must be `next` of the page before"))
    return int(rank), ident


def _kept(
    visit: Visit, scope: Iterable[Clinic], having: Sequence[Where], after: tuple[int, str], limit: int
) -> list[Waiting]:
    rank, ident = after
    found: list[Waiting] = []
    for clinic in scope:
        mine = [Where("clinic_id", "=", clinic.id), *having]
        order = ("rank", "patient_id")
        same = Where("rank", "=", rank), Where("patient_id", ">", ident)
        found += visit.session.find(Waiting, *mine, *same, order=order, limit=limit) if rank >= 0 else []
        found += visit.session.find(Waiting, *mine, Where("rank", ">", rank), order=order, limit=limit)
    return sorted(found, key=lambda row: (row.rank, row.patient_id))[:limit]


def _tallies(visit: Visit, scope: list[Clinic]) -> dict[str, int]:
    ids = tuple(clinic.id for clinic in scope)

    def count() -> dict[str, int]:
        found = visit.session.tally(Waiting, "tasks", Where("clinic_id", "in", ids))
        return _tallied((cast("list[str]", reread(cast(str, tasks))), many) for tasks, many in found.items())

    return visit.services.still(("tallies", ids), count)


def _tallied(rows: Iterable[tuple[Iterable[str], int]]) -> dict[str, int]:
    tallies = {str(task): 0 for task in Task}
    for tasks, many in rows:
        for task in tasks:
            tallies[task] += many
    return tallies


def _computed(visit: Visit, scope: Iterable[Clinic], on: str) -> list[Waiting]:
    ids = tuple(clinic.id for clinic in scope)
    mine = Where("clinic_id", "in", ids), Where("active", "=", 1)
    if visit.session.count(Patient, *mine) > _MOST_COMPUTED:
        raise Invalid(Fault("clinic", f"a day to come is told for at most {_MOST_COMPUTED} patients: name one clinic"))
    lines = [stand_on(visit, patient, on) for patient in visit.session.find(Patient, *mine)]
    return sorted((line for line in lines if line is not None), key=lambda row: (row.rank, row.patient_id))
