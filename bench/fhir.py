"""The bench of the FHIR door: requests per second, each beside a bare Flask route with the same payloads.

search        the 52 platelet counts of a patient / a route that returns as many bytes
create        an Observation / a route that decodes the same body and does one durable SQLite insert
card          the next dose of a patient who is not stored, from prefetch / a route that decodes the same body
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.service import BARE, FIRST, SECONDS, WEEKS, Client, Place, fill, gunicorn, measure, serve
from bench.sign_off import _size

MANY = int(os.environ.get("BENCH_PATIENTS", "10000"))

MORE = """
@app.get("/found")
def found():
    return Response(answer, content_type="application/fhir+json")
@app.post("/observation")
def observation():
    body = json.loads(request.get_data(), parse_float=Decimal, parse_int=Decimal)
    with lock:
        connection().execute(
            "insert into counts values (?, ?, ?, ?)",
            (
                body["subject"]["reference"], body["effectiveDateTime"], str(body["valueQuantity"]["value"]),
                body["valueQuantity"]["code"],
            ),
        )
    return Response(created, status=201, content_type="application/fhir+json")
@app.post("/card")
def card():
    json.loads(request.get_data(), parse_float=Decimal, parse_int=Decimal)
    return Response(cards, content_type="application/json")
answer, created, cards = ("x" * int(size) for size in os.environ["SIZES"].split())
"""


def _post(path: str, token: str, body: str) -> bytes:
    head = f"Host: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/fhir+json"
    return f"POST {path} HTTP/1.1\r\n{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def searches(place: Place) -> Callable[[], bytes]:
    """A maker of searches, each for the counts of another patient."""
    chance = random.Random(1)

    def ours() -> bytes:
        asked = f"patient={chance.choice(place.patients)}&code=http://loinc.org|777-3&_sort=-date&_count=100"
        head = f"Host: x\r\nAuthorization: Bearer {place.token}\r\nAccept: application/fhir+json"
        return f"GET /fhir/Observation?{asked} HTTP/1.1\r\n{head}\r\n\r\n".encode()

    return ours


def _observation(patient: str, day: str, value: int, name: str | None = None) -> dict[str, object]:
    named = {} if name is None else {"identifier": [{"system": "urn:oid:2.16.840.1.113883.3.9", "value": name}]}
    return {
        "resourceType": "Observation",
        **named,
        "status": "final",
        "category": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                        "code": "laboratory",
                    }
                ]
            }
        ],
        "code": {"coding": [{"system": "http://loinc.org", "code": "777-3", "display": "Platelets"}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": day,
        "valueQuantity": {
            "value": value,
            "unit": "10*9/L",
            "system": "http://unitsofmeasure.org",
            "code": "10*9/L",
        },
    }


def creates(place: Place) -> tuple[Callable[[], bytes], Callable[[], bytes]]:
    """Makers of requests: each creates another Observation; and the same body for the bare route."""
    chance, made = random.Random(2), iter(range(10**9))

    def body() -> str:
        day = (FIRST + timedelta(days=chance.randrange(7 * WEEKS))).isoformat()
        of = chance.choice(place.patients)
        return json.dumps(_observation(of, f"{day}T08:00:00Z", chance.randrange(60, 100), f"{next(made)}"))

    return (
        lambda: _post("/fhir/Observation", place.token, body()),
        lambda: _post("/observation", place.token, body()),
    )


def calls(place: Place, protocol: str = "us-itp-adult") -> tuple[Callable[[], bytes], Callable[[], bytes]]:
    """Makers of CDS Hooks calls, with the prefetch of twelve weeks; and the same body for the bare route."""
    today = datetime.now(UTC).date()

    def bundle(*resources: dict[str, object]) -> dict[str, object]:
        entries = [{"resource": one} for one in resources]
        return {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}

    weight = _observation("elsewhere", (today - timedelta(weeks=12)).isoformat(), 75)
    weight["code"] = {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]}
    weight["valueQuantity"] = {"value": 75, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"}
    days = [(today - timedelta(weeks=week)).isoformat() for week in range(1, 13)]
    doses = [
        {
            "resourceType": "MedicationAdministration",
            "status": "completed",
            "medicationCodeableConcept": {"coding": [{"system": "http://www.whocc.no/atc", "code": "B02BX04"}]},
            "subject": {"reference": "Patient/elsewhere"},
            "effectiveDateTime": day,
            "dosage": {
                "dose": {"value": 150, "unit": "ug", "system": "http://unitsofmeasure.org", "code": "ug"},
            },
        }
        for day in days
    ]
    counts = [_observation("elsewhere", day, 60 + week) for week, day in enumerate([today.isoformat(), *days])]
    call = {
        "hook": "patient-view",
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": {"userId": "Practitioner/1", "patientId": "elsewhere"},
        "prefetch": {
            "patient": {"resourceType": "Patient", "id": "elsewhere", "birthDate": "1960-05-01"},
            "platelets": bundle(*counts),
            "weights": bundle(weight),
            "doses": bundle(*doses),
            "procedures": bundle(),
            "adverseEvents": bundle(),
            "conditions": bundle(),
        },
    }
    body = json.dumps(call)

    def post(path: str) -> bytes:
        return _post(path, place.token, body).replace(b"application/fhir+json", b"application/json")

    return lambda: post(f"/cds-services/romiplostim-{protocol}-patient-view"), lambda: post("/card")


def main() -> None:
    """Everything, at the size of BENCH_PATIENTS or 10,000."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as name:
        folder = Path(name)
        begun = time.perf_counter()
        place = fill(folder / "ours", MANY)
        print(f"filled with {MANY:,} patients in {time.perf_counter() - begun:.0f} s", flush=True)
        file = folder / "bare.db"
        with sqlite3.connect(file) as made:
            made.execute("pragma journal_mode = wal")
            made.execute("create table counts (patient text, day text, value text, unit text)")
        search, (create, bare_create), (call, bare_call) = searches(place), creates(place), calls(place)
        with gunicorn(*serve(place)) as port:
            sizes = " ".join(str(_size(port, sent)) for sent in (search(), create(), call()))
        (folder / "bare_app.py").write_text(BARE + MORE)
        environment = {"SIZE": "1", "SIZES": sizes, "FILE": str(file), "PYTHONPATH": str(folder)}
        with gunicorn(*serve(place)) as port, gunicorn("bare_app:app", folder, environment) as bare_port:
            ours, bare = Client(port), Client(bare_port)
            found = b"GET /found HTTP/1.1\r\nHost: x\r\n\r\n"
            pairs = (
                ("search of 52 Observations", search, lambda: found, b"200"),
                ("create of an Observation", create, bare_create, b"201"),
                ("CDS card from prefetch", call, bare_call, b"200"),
            )
            for told, mine, other, status in pairs:
                measure(
                    told,
                    lambda mine=mine, status=status: ours.run(mine, status, SECONDS),  # type: ignore[misc]
                    lambda other=other, status=status: bare.run(other, status, SECONDS),  # type: ignore[misc]
                )


if __name__ == "__main__":
    main()
