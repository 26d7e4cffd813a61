"""Settings: defaults, the file, the environment that goes before it, and every fault at once."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from titrator.notify.schemes import SCHEMES
from titrator.security.assertions import Assertions, Client
from titrator.settings import BOUNDS, NAMES, TABLES, CdsClient, InvalidSettings, Settings, load_settings
from titrator.workflow.feeds import MEANINGS, Authority, Feed

#: For each setting a value that it takes, other than its default: as the file has it, as the environment has it.
TAKEN: dict[str, tuple[object, str]] = {
    "database": ("/srv/other.db", "/srv/other.db"),
    "audit_key_file": ("/srv/other.key", "/srv/other.key"),
    "base_url": ("https://titrator.example", "https://titrator.example"),
    "second_factor_roles": ("admin prescriber", "admin prescriber"),
    "channel_schemes": ("mailtos ntfys", "mailtos ntfys"),
    "cds_protocols": ("us-itp-adult eu-itp-adult", "us-itp-adult eu-itp-adult"),
    "cors_origins": ("https://ehr.example https://b.example:8443", "https://ehr.example https://b.example:8443"),
    "fhir_servers": ("https://ehr.example/fhir", "https://ehr.example/fhir"),
    "log_level": ("warning", "warning"),
    **dict.fromkeys(("mllp_certificate", "mllp_key", "mllp_client_ca"), ("mllp.pem", "mllp.pem")),
    **{name: (most - 1, str(most - 1)) for name, (_, most) in BOUNDS.items()},
}
#: What no setting takes, and why.
REFUSED = [
    ("log_level", "loud", "must be one of debug, info, warning, error"),
    ("base_url", "titrator.example", "must begin with http:// or https://"),
    (
        "channel_schemes",
        "mailtos json file",
        "there is no file, json; known are mailto, mailtos, ntfy, ntfys, slack, sns, twilio, vonage, workflows",
    ),
    ("workers", "two", "must be a whole number from 1 to 64"),
    ("workers", "1.5", "must be a whole number from 1 to 64"),
    ("workers", "-1", "must be a whole number from 1 to 64"),
    ("workers", "٣", "must be a whole number from 1 to 64"),
    ("workers", "1" * 5000, "must be a whole number from 1 to 64"),
]

NOT_SAFE = "must begin with https://; http:// only to this computer"
NO_URL = "must be a URL of scheme, host and path, without a login and without #"
NO_ORIGIN = "must be as browsers write it: in lower case, without a path and without the usual port"
NO_PERSON = "must be one of technician, pharmacist, prescriber, auditor, admin"
#: What no list takes, and why.
REFUSED_IN_LISTS = [
    ("second_factor_roles", "ehr", NO_PERSON),
    ("second_factor_roles", "Admin", NO_PERSON),
    ("second_factor_roles", "*", NO_PERSON),
    ("cds_protocols", "US-ITP", "must be the id of a protocol"),
    ("cds_protocols", "../other", "must be the id of a protocol"),
    ("cors_origins", "*", NO_URL),
    ("cors_origins", "null", NO_URL),
    ("cors_origins", "https://*.example", NO_URL),
    ("cors_origins", "http://ehr.example", NOT_SAFE),
    ("cors_origins", "http://localhost.example", NOT_SAFE),
    ("cors_origins", "http://127.0.0.1.example", NOT_SAFE),
    ("cors_origins", "https://ehr.example/", NO_ORIGIN),
    ("cors_origins", "https://EHR.example", NO_ORIGIN),
    ("cors_origins", "https://ehr.example:443", NO_ORIGIN),
    ("cors_origins", "http://localhost:80", NO_ORIGIN),
    ("cors_origins", "https://ehr.example:65536", NO_URL),
    ("fhir_servers", "http://ehr.example/fhir", NOT_SAFE),
    ("fhir_servers", "ftp://ehr.example/fhir", NO_URL),
    ("fhir_servers", "https:///fhir", NO_URL),
    ("fhir_servers", "https://[::g]/fhir", NO_URL),
    ("fhir_servers", "https://me:secret@ehr.example/fhir", NO_URL),
    ("fhir_servers", "https://ehr.example/fhir#x", NO_URL),
    ("fhir_servers", "https://ehr.example/fhir?x=1", "must have no ?"),
]
CLIENT = {"issuer": "https://ehr.example", "account": "ehr", "jwks_url": "https://ehr.example/keys"}
#: What a table of a CDS client may not be: what is changed in the one above, and the faults with their places in it.
NO_CLIENT: list[tuple[dict[str, object], list[tuple[str, str]]]] = [
    ({"issuer": None}, [(".issuer", "required")]),
    ({"account": None}, [(".account", "required")]),
    ({"issuer": ""}, [(".issuer", "must have a text, without spaces around it")]),
    ({"account": " ehr"}, [(".account", "must have a text, without spaces around it")]),
    ({"account": 7}, [(".account", "must be a text")]),
    ({"jwks_url": None}, [("", "must have either jwks_url or jwks_file")]),
    ({"jwks_file": "keys.json"}, [("", "must have either jwks_url or jwks_file")]),
    ({"jwks_url": "http://ehr.example/keys"}, [(".jwks_url", NOT_SAFE)]),
    ({"jwks_url": "keys"}, [(".jwks_url", NO_URL)]),
    ({"jwks_url": 7}, [(".jwks_url", "must be a text")]),
    ({"jwks_url": None, "jwks_file": ""}, [(".jwks_file", "must have a text, without spaces around it")]),
    ({"isuer": "x"}, [(".isuer", "unknown; there are issuer, account, jwks_url, jwks_file")]),
    (
        {"issuer": None, "account": 7, "jwks_url": None},
        [("", "must have either jwks_url or jwks_file"), (".account", "must be a text"), (".issuer", "required")],
    ),
]


def tables(*clients: dict[str, object] | dict[str, str]) -> str:
    """The text of a file with these CDS clients."""
    return "\n".join(
        "[[cds_clients]]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in client.items() if value is not None)
        for client in clients
    )


def write(folder: Path, text: str) -> dict[str, str]:
    (folder / "config.toml").write_text(text, encoding="utf-8")
    return {"TITRATOR_INSTANCE": str(folder)}


def faults(environment: dict[str, str]) -> list[tuple[str, str]]:
    with pytest.raises(InvalidSettings) as caught:
        load_settings(environment)
    return [(fault.path, fault.message) for fault in caught.value.faults]


def toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def test_without_anything_the_defaults_stand(tmp_path: Path) -> None:
    assert load_settings({"TITRATOR_INSTANCE": str(tmp_path)}) == Settings(instance=tmp_path)


def test_the_instance_is_a_folder_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings({}).instance == tmp_path / "instance"
    assert load_settings({"TITRATOR_INSTANCE": ""}).instance == tmp_path / "instance"
    assert load_settings({"TITRATOR_INSTANCE": "here"}).instance == tmp_path / "here"


def test_every_setting_is_tried() -> None:
    assert set(TAKEN) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_is_taken_from_the_file_and_the_environment_goes_first(tmp_path: Path, name: str) -> None:
    in_file, said = TAKEN[name]
    default = getattr(Settings(instance=tmp_path), name)
    assert in_file != default
    assert asdict(load_settings({"TITRATOR_INSTANCE": str(tmp_path), f"TITRATOR_{name.upper()}": said})) == asdict(
        Settings(instance=tmp_path, **{name: in_file})  # type: ignore[arg-type]
    )
    environment = write(tmp_path, f"{name} = {toml(in_file)}\n")
    assert getattr(load_settings(environment), name) == in_file
    assert getattr(load_settings(environment | {f"TITRATOR_{name.upper()}": ""}), name) == in_file
    if default != "":
        assert getattr(load_settings(environment | {f"TITRATOR_{name.upper()}": str(default)}), name) == default


@pytest.mark.parametrize(("name", "bounds"), BOUNDS.items(), ids=BOUNDS)
def test_a_number_is_taken_at_its_bounds_and_refused_beyond(tmp_path: Path, name: str, bounds: tuple[int, int]) -> None:
    least, most = bounds
    said = f"must be a whole number from {least} to {most}"
    for value in (least, most):
        assert getattr(load_settings(write(tmp_path, f"{name} = {value}\n")), name) == value
    for value in (least - 1, most + 1):
        assert faults(write(tmp_path, f"{name} = {value}\n")) == [(f"{tmp_path / 'config.toml'}: {name}", said)]
        assert faults({"TITRATOR_INSTANCE": str(tmp_path / "none"), f"TITRATOR_{name.upper()}": str(value)}) == [
            (f"TITRATOR_{name.upper()}", said)
        ]


@pytest.mark.parametrize(("name", "value", "why"), REFUSED)
def test_what_is_refused_says_why(tmp_path: Path, name: str, value: str, why: str) -> None:
    variable = f"TITRATOR_{name.upper()}"
    assert faults({"TITRATOR_INSTANCE": str(tmp_path), variable: value}) == [(variable, why)]


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    environment = write(tmp_path, 'wokers = 3\nthreads = true\nlog_level = 3\nbase_url = ["x"]\n')
    found = faults(environment | {"TITRATOR_IDLE_MINUTES": "0"})
    assert [path.rpartition(": ")[2] for path, _ in found] == [
        "wokers",
        "threads",
        "log_level",
        "base_url",
        "TITRATOR_IDLE_MINUTES",
    ]
    assert found[0][1].startswith("unknown setting; there are database, ")


@pytest.mark.parametrize("text", ["workers = \n", "workers = 2\nworkers = 3\n", "\x00"])
def test_a_file_that_is_no_toml_is_a_fault(tmp_path: Path, text: str) -> None:
    assert [(path, message.split(":")[0]) for path, message in faults(write(tmp_path, text))] == [
        (str(tmp_path / "config.toml"), "cannot be read")
    ]


def test_what_lies_in_the_instance_folder_unless_it_is_put_elsewhere(tmp_path: Path) -> None:
    plain = Settings(instance=tmp_path)
    assert (plain.database_url, plain.key_file) == (str(tmp_path / "titrator.db"), tmp_path / "audit.key")
    assert (plain.local_protocols, plain.seals) == (tmp_path / "protocols", tmp_path / "seals")
    moved = Settings(instance=tmp_path, database="sqlite:////srv/t.db", audit_key_file="/etc/t.key")
    assert (moved.database_url, moved.key_file) == ("sqlite:////srv/t.db", Path("/etc/t.key"))


def test_an_installation_may_have_channels_of_fewer_schemes(tmp_path: Path) -> None:
    assert Settings(instance=tmp_path).schemes == SCHEMES
    assert load_settings(write(tmp_path, 'channel_schemes = "mailtos ntfys"\n')).schemes == {"mailtos", "ntfys"}
    assert Settings(instance=tmp_path).texts == tmp_path / "texts"


def test_an_address_has_no_slash_at_its_end(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path, 'base_url = "https://a.example/"\n')).base_url == "https://a.example"


@pytest.mark.parametrize(("name", "value", "why"), REFUSED_IN_LISTS)
def test_what_a_list_does_not_take_is_told_with_its_place(tmp_path: Path, name: str, value: str, why: str) -> None:
    variable, good = f"TITRATOR_{name.upper()}", TAKEN[name][1]
    place = len(good.split())
    assert faults({"TITRATOR_INSTANCE": str(tmp_path), variable: f"{good} {value}"}) == [(f"{variable}[{place}]", why)]
    assert faults(write(tmp_path, f'{name} = "{value} {good} {value}"\n')) == [
        (f"{tmp_path / 'config.toml'}: {name}[{index}]", why) for index in (0, place + 1)
    ]


def test_a_list_is_read_as_such(tmp_path: Path) -> None:
    found = load_settings(
        {
            "TITRATOR_INSTANCE": str(tmp_path),
            "TITRATOR_CDS_PROTOCOLS": " us-itp-adult  jp-itp-adult ",
            "TITRATOR_CORS_ORIGINS": "https://ehr.example http://localhost:3000 http://127.0.0.1 http://[::1]:9",
            "TITRATOR_FHIR_SERVERS": "https://ehr.example/fhir/ http://localhost:8080/fhir/R4// https://b.example",
        }
    )
    assert found.offered_protocols == {"us-itp-adult", "jp-itp-adult"}
    assert found.allowed_origins == {
        "https://ehr.example", "http://localhost:3000", "http://127.0.0.1", "http://[::1]:9",
    }  # fmt: skip
    assert found.known_fhir_servers == {
        "https://ehr.example/fhir", "http://localhost:8080/fhir/R4", "https://b.example",
    }  # fmt: skip
    plain = Settings(instance=tmp_path)
    assert (plain.offered_protocols, plain.allowed_origins, plain.known_fhir_servers) == (set(), set(), set())


def test_cds_clients_have_their_keys_at_a_url_or_in_a_file(tmp_path: Path) -> None:
    beside = {"issuer": "b", "account": "lab", "jwks_file": "keys/b.json"}
    elsewhere = {"issuer": "c", "account": "lab", "jwks_file": "/etc/c.json"}
    found = load_settings(write(tmp_path, tables(CLIENT, beside, elsewhere))).cds_clients
    assert found == (
        CdsClient("https://ehr.example", "ehr", "https://ehr.example/keys", None),
        CdsClient("b", "lab", None, tmp_path / "keys" / "b.json"),
        CdsClient("c", "lab", None, Path("/etc/c.json")),
    )
    Assertions(Client(*one) for one in found)


@pytest.mark.parametrize(("changed", "why"), NO_CLIENT)
def test_what_is_no_cds_client_says_why_with_its_place(
    tmp_path: Path, changed: dict[str, object], why: list[tuple[str, str]]
) -> None:
    place = f"{tmp_path / 'config.toml'}: cds_clients[1]"
    other = CLIENT | {"issuer": "b"}
    assert faults(write(tmp_path, tables(other, CLIENT | changed))) == [(place + path, said) for path, said in why]


def test_faults_of_cds_clients_are_told_with_all_others(tmp_path: Path) -> None:
    text = 'workers = 0\ncors_origins = "* https://a.example null"\n' + tables(CLIENT, {}, CLIENT)
    found = faults(write(tmp_path, text) | {"TITRATOR_FHIR_SERVERS": "x"})
    assert [path.rpartition(": ")[2] for path, _ in found] == [
        "workers", "cors_origins[0]", "cors_origins[2]",
        "cds_clients[1]", "cds_clients[1].account", "cds_clients[1].issuer", "cds_clients[2].issuer",
        "TITRATOR_FHIR_SERVERS[0]",
    ]  # fmt: skip
    assert found[-2][1] == "stands twice"


@pytest.mark.parametrize("text", ['cds_clients = "x"', "cds_clients = [1]", '[cds_clients]\nissuer = "x"'])
def test_cds_clients_are_tables(tmp_path: Path, text: str) -> None:
    assert faults(write(tmp_path, text)) == [
        (f"{tmp_path / 'config.toml'}: cds_clients", "must be tables, each under [[cds_clients]]")
    ]


def test_no_tables_is_no_client_and_the_environment_has_none(tmp_path: Path) -> None:
    environment = write(tmp_path, "cds_clients = []\n") | {"TITRATOR_CDS_CLIENTS": "x"}
    assert load_settings(environment).cds_clients == ()


def test_the_files_shown_are_taken_and_every_member_of_a_table_is_told(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "settings.md").read_text(encoding="utf-8")
    shown = [load_settings(write(tmp_path, text)) for text in re.findall(r"```toml\n(.*?)```", page, re.DOTALL)]
    assert [len(one.cds_clients) for one in shown] == [0, 2, 0]
    assert [len(one.hl7_feeds) for one in shown] == [0, 0, 1]
    assert TABLES == ("cds_clients", "hl7_feeds")
    told = page.split("In a table stand")[1].split("```")[0]
    assert set(CdsClient._fields) <= set(re.findall(r"`([a-z_]+)`", told))
    of_feeds = page.split("In a table of a feed stand")[1].split("```")[0]
    assert {*Feed._fields, *Authority._fields, *MEANINGS} <= set(re.findall(r"`([a-z_-]+)`", of_feeds))


FEED = """
[[hl7_feeds]]
name = "lab"
account = "lis"
peers = ["10.1.0.0/16"]
identifiers = [{authority = "HOSP", system = "urn:mrn"}]
"""


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("lab", "Lab 1", "[0].name: must be of small letters, digits and -, at most 40"),
        ("10.1.0.0/16", "10.1.0.1/16", "[0].peers[0]: must be an IP address, or a network like 10.1.0.0/24 without"),
        ("10.1.0.0/16", "lab.example", "[0].peers[0]: must be an IP address"),
        ('account = "lis"\n', "", "[0].account: required"),
        ('authority = "HOSP", ', "", "[0].identifiers[0].authority: required"),
        ('"HOSP"', '""', "[0].identifiers[0]: authority and system must not be empty"),
        ('"HOSP"', '"HOSP", kind = "MR"', "[0].identifiers[0].kind: unknown; there are authority, system, type"),
        ('"lis"', '"lis"\nhours = 1', "[0].hours: unknown; there are name, account, peers, identifiers, codes, units"),
        ('"lis"', '"lis"\nsilence_hours = -1', "[0].silence_hours: must be a whole number from 0 to 2160"),
        ('"lis"', '"lis"\ntime_zone = "Mars"', "[0].time_zone: must be an IANA time zone"),
        ('"lis"', '"lis"\nunits = {"10^9/L" = "/uL"}', "[0].units.10^9/L: is another unit than /uL"),
        (
            '"lis"',
            '"lis"\ncodes = [{code = "X", system = "", means = "iron"}]',
            "[0].codes[0].means: must be one of platelet-count, weight",
        ),
        ('"lis"', '"lis"\ncodes = [{code = "1", system = "LN", means = "weight"}]', "[0].codes[0]: must be a code of"),
    ],
)
def test_faults_of_a_feed_are_told_by_place(tmp_path: Path, old: str, new: str, fault: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        load_settings(write(tmp_path, FEED.replace(old, new, 1)))
    assert any(f"hl7_feeds{fault}" in str(one) for one in caught.value.faults), caught.value.faults


@pytest.mark.parametrize(
    ("other", "fits"),
    [
        (FEED.replace('"lab"', '"two"'), False),
        (FEED.replace('"lab"', '"two"').replace("lis", "lis2"), False),
        (FEED.replace('"lab"', '"two"').replace("10.1.", "10.2."), False),
        (FEED.replace('"lab"', '"two"').replace("lis", "lis2").replace("10.1.", "10.2."), True),
        (FEED.replace("lis", "lis2").replace("10.1.", "10.2."), False),
        (FEED.replace('"lab"', '"two"') + 'application = "B"\n', True),
    ],
    ids=["all the same", "same peers", "same account", "neither", "same name", "another application"],
)
def test_feeds_must_be_told_apart(tmp_path: Path, other: str, fits: bool) -> None:
    file = write(tmp_path, FEED + 'application = "A"\n' * ("application" in other) + other)
    if fits:
        assert [one.name for one in load_settings(file).hl7_feeds] == ["lab", "two"]
    else:
        with pytest.raises(InvalidSettings, match=r"stands twice|must differ"):
            load_settings(file)
