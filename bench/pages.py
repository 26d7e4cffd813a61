"""The bench of the pages: requests per second, each beside a bare Flask route that renders the same template.

worklist      the first page: 50 of the 500 patients of whom something waits
patient       a patient with 104 weeks of counts and doses, every reading of it in the trail
chart         that of the same patient, once it has been drawn / the same file, sent by Flask as a static one
"""

from __future__ import annotations

import os
import random
import tempfile
from functools import partial
from pathlib import Path

from bench.figures import at_least
from bench.service import SECONDS, Client, Place, _visit, fill, gunicorn, measure, serve
from titrator.assembly import make_services
from titrator.settings import Settings
from titrator.web.frame import COOKIE
from titrator.workflow import accounts
from titrator.workflow.visit import leave

PATIENTS, WEEKS = int(os.environ.get("BENCH_PATIENTS", "500")), 104


def session(place: Place) -> str:
    """The secret of a session of the account of a place."""
    services = make_services(Settings(instance=place.folder))
    with services.store.writing() as writing:
        visit = _visit(services, writing)
        issued = accounts.login(visit, "bench", accounts.Proof(True, None)).issued
        leave(visit, writing, visit.entries)
    services.store.close()
    assert issued is not None
    return issued.secret


def main() -> None:
    """Both pages."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as name:
        place = fill(Path(name) / "pages", PATIENTS, counted_today=True, weeks=WEEKS)
        secret = session(place)
        command, folder, environment = serve(place)
        one = f"/patients/{place.patients[0]}"
        bare_environment = {**environment, "SESSION": secret, "PAGES": f"/worklist {one}"}
        chance = random.Random(1)
        ask = f"GET %s HTTP/1.1\r\nHost: x\r\nCookie: {COOKIE}={secret}\r\n\r\n"

        def worklist() -> bytes:
            return (ask % "/worklist").encode()

        def patient() -> bytes:
            return (ask % f"/patients/{chance.choice(place.patients)}").encode()

        with (
            gunicorn(command, folder, environment) as port,
            gunicorn("bench.bare_pages:app", folder, bare_environment) as bare_port,
        ):
            ours, bare = Client(port), Client(bare_port)
            drawn, file = ((ask % path).encode() for path in (f"{one}/chart.svg", "/bare/chart.svg"))
            measure(
                "chart that has been drawn, beside a static file",
                partial(ours.run, lambda: drawn, b"200", SECONDS),
                partial(bare.run, lambda: file, b"200", SECONDS),
                at_least(0.5),
            )
            for number, make in enumerate((worklist, patient)):
                template = (ask % f"/bare/{number}").encode()
                measure(
                    f"the page {make.__name__}, beside its template",
                    partial(ours.run, make, b"200", SECONDS),
                    partial(bare.run, lambda template=template: template, b"200", SECONDS),  # type: ignore[misc]
                    at_least(0.25),
                )


if __name__ == "__main__":
    main()
