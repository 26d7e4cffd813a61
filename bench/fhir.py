"""The bench of the FHIR door: requests per second, each beside a bare Flask route with the same payloads.

search        the 52 platelet counts of a patient / a route that returns as many bytes
create        an Observation / a route that decodes the same body and does one durable SQLite insert
card          the next dose of a patient who is not stored, from prefetch / a route that decodes the same body; by a
              token of ours, and by an assertion that is signed anew for each call, as CDS Hooks wants it: by RS384
              and by ES384, of which a hospital chooses one
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

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from bench.figures import at_least
from bench.service import BARE, FIRST, SECONDS, WEEKS, Client, Place, _visit, fill, gunicorn, measure, serve
from bench.sign_off import _size
from titrator.assembly import make_services
from titrator.settings import Settings
from titrator.store.records import Clinic
from titrator.workflow import accounts
from titrator.workflow.visit import leave

MANY = int(os.environ.get("BENCH_PATIENTS", "10000"))
ISSUER = "https://ehr.bench.example"
Key = ECKey | RSAKey
#: As many as are called for, and to spare.
ASSERTIONS = 20_000

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


def calls(
    place: Place, key: Key | None = None, protocol: str = "us-itp-adult"
) -> tuple[Callable[[], bytes], Callable[[], bytes]]:
    """Makers of CDS Hooks calls, with the prefetch of twelve weeks; and the same body for the bare route.

    With a key, each bears an assertion of its own in place of a token.
    """
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

    def post(path: str, token: str) -> bytes:
        return _post(path, token, body).replace(b"application/fhir+json", b"application/json")

    path = f"/cds-services/romiplostim-{protocol}-patient-view"
    tokens = None if key is None else iter(_assertions(key, path))
    return lambda: post(path, place.token if tokens is None else next(tokens)), lambda: post("/card", place.token)


def _algorithm(key: Key) -> str:
    return "ES384" if isinstance(key, ECKey) else "RS384"


def _assertions(key: Key, path: str) -> list[str]:
    """Assertions of the bench for a service, each for one call."""
    name = _algorithm(key)
    begun, header = int(time.time()), {"alg": name, "kid": name, "typ": "JWT"}
    claims = {"iss": ISSUER, "aud": f"http://127.0.0.1:8000{path}", "iat": begun, "exp": begun + 1800}
    return [
        jwt.encode(header, claims | {"jti": f"{name}-{number}"}, key, algorithms=[name]) for number in range(ASSERTIONS)
    ]


def register(place: Place, *held: Key) -> None:
    """Let the bench call the CDS services: an account, and the public keys in the configuration."""
    services = make_services(Settings(instance=place.folder))
    with services.store.writing() as session:
        visit = _visit(services, session)
        clinics = [clinic.id for clinic in session.find(Clinic)]
        body = {"username": "bench-ehr", "display_name": "bench", "role": "ehr", "clinics": clinics}
        accounts.add_account(visit, body)
        leave(visit, session, visit.entries)
    services.store.close()
    keys = {"keys": [key.as_dict(private=False, kid=_algorithm(key), alg=_algorithm(key)) for key in held]}
    (place.folder / "keys.json").write_text(json.dumps(keys))
    client = f'[[cds_clients]]\nissuer = "{ISSUER}"\naccount = "bench-ehr"\njwks_file = "keys.json"\n'
    (place.folder / "config.toml").write_text(client)


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
        keys: tuple[Key, ...] = RSAKey.generate_key(2048), ECKey.generate_key("P-384")
        register(place, *keys)
        search, (create, bare_create), (call, bare_call) = searches(place), creates(place), calls(place)
        signed = [
            (f"CDS card, signed by {_algorithm(key)}", calls(place, key)[0], bare_call, b"200", 0.25) for key in keys
        ]
        with gunicorn(*serve(place)) as port:
            sizes = " ".join(str(_size(port, sent)) for sent in (search(), create(), call()))
        (folder / "bare_app.py").write_text(BARE + MORE)
        environment = {"SIZE": "1", "SIZES": sizes, "FILE": str(file), "PYTHONPATH": str(folder)}
        with gunicorn(*serve(place)) as port, gunicorn("bare_app:app", folder, environment) as bare_port:
            ours, bare = Client(port), Client(bare_port)
            found = b"GET /found HTTP/1.1\r\nHost: x\r\n\r\n"
            pairs = (
                ("search of 52 Observations", search, lambda: found, b"200", 0.25),
                ("create of an Observation", create, bare_create, b"201", 0.40),
                ("CDS card from prefetch", call, bare_call, b"200", 0.25),
                *signed,
            )
            for told, mine, other, status, goal in pairs:
                measure(
                    told,
                    lambda mine=mine, status=status: ours.run(mine, status, SECONDS),  # type: ignore[misc]
                    lambda other=other, status=status: bare.run(other, status, SECONDS),  # type: ignore[misc]
                    at_least(goal),
                )


if __name__ == "__main__":
    main()
