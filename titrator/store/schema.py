"""The tables, as the migrations that make them. A released migration is never edited; a new one follows it.

Tables and indexes are written once, in the dialect of SQLite, and told in that of PostgreSQL word by word: texts are in
the order of their code points in both, and a whole number has 64 bits. Triggers are written for each. A table is
without a rowid unless its rows are long: SQLite keeps whole rows in the inner pages of such a table, few to a page.

Every table of a patient leads with the patient, so that a patient's rows lie together, and can be moved together; but
for `identifiers`, by which a patient is found, and which no two may share.

So that old and new programs can run side by side while one is upgraded, a migration says in its name what it does
(docs/operations.md#upgrade):

    NNNN-expand-…    adds what a program that does not know it leaves alone: tables, columns that may be null, indexes
    NNNN-contract-…  takes away what no program of this version needs; applied by hand, once no older one runs
    NNNN-…           anything else: an older program refuses the database from then on
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

#: How statements begin that are of SQLite alone.
_OF_SQLITE: Final = ("create trigger", "create index facts_by_day")


class Migration(NamedTuple):
    """A step from one version of the tables to the next; all its statements or none.

    `further` are the statements of PostgreSQL alone, in the place of those of SQLite alone.
    """

    name: str
    sqlite: tuple[str, ...]
    further: tuple[str, ...] = ()

    @property
    def postgresql(self) -> tuple[str, ...]:
        """The statements in the dialect of PostgreSQL."""
        told = (_in_postgresql(statement) for statement in self.sqlite if not statement.startswith(_OF_SQLITE))
        return (*told, *self.further)

    @property
    def contracts(self) -> bool:
        """Whether it takes away what only older programs need."""
        return _kind(self.name) == "contract"


def not_understood(applied: Iterable[str], known: Iterable[Migration]) -> list[str]:
    """Of the migrations of a database those that a program that knows some others cannot work beside."""
    names = {migration.name for migration in known}
    return sorted(name for name in applied if name not in names and _kind(name) != "expand")


def plain_sql(text: str) -> str:
    """A statement, or a part of one, without regard to case and space."""
    return " ".join(text.lower().split())


def _kind(name: str) -> str:
    return name.split("-")[1] if name.count("-") > 1 else ""


def _in_postgresql(statement: str) -> str:
    statement = re.sub(r"\b(\w+) text\b", r'\1 text collate "C"', statement)
    statement = re.sub(r"\b(\w+) integer\b", r"\1 bigint", statement)
    return re.sub(r"\) strict(, without rowid)?$", ")", statement)


_OF_ACCESS: Final = ("accounts", "second_factors", "tokens")
_COUNT_ACCESS: Final = (
    "insert into change_counts values ('access', 1) on conflict (name) do update set number = number + 1"
)
#: An index says the same, and is a page more to write with each fact: SQLite has one by day in its place. PostgreSQL,
#: where several write at once, has that index and not the one by day, which an import would have to write, too.
_HAS_ANOTHER: Final = """exists (
    select 1 from facts where patient_id = new.patient_id and id = new.id and version != new.version and current = 1
)"""
_REFUSE: Final = "select raise(abort, 'UNIQUE constraint failed: current version of a fact')"

MIGRATIONS: Final = (
    Migration(
        "0001-clinics-patients-courses-facts-decisions-access-audit",
        (
            """create table clinics (
                id text primary key, version integer not null, name text not null, time_zone text not null,
                holidays text not null, injection_days text not null
            ) strict, without rowid""",
            """create table patients (
                id text primary key, version integer not null, revision integer not null,
                clinic_id text not null references clinics (id), family_name text not null, given_name text not null,
                search_name text not null, born_on text, active integer not null check (active in (0, 1)),
                created_at text not null, changed_at text not null,
                settled integer not null check (settled in (0, 1)), decided integer not null, decision_id integer
            ) strict, without rowid""",
            "create index patients_of_clinic on patients (clinic_id, id)",
            "create index patients_to_settle on patients (clinic_id, id) where settled = 0",
            """create table identifiers (
                system text not null, value text not null, patient_id text not null references patients (id),
                primary key (system, value)
            ) strict, without rowid""",
            "create index identifiers_of_patient on identifiers (patient_id)",
            """create table courses (
                patient_id text not null references patients (id), id integer not null, version integer not null,
                current integer not null check (current in (0, 1)), protocol text not null,
                status text not null check (status in ('active', 'paused', 'discontinued', 'entered-in-error')),
                started_on text not null, ended_on text, baseline_on text, eligibility text not null,
                change text not null, reason text, changed_by text not null, changed_at text not null,
                primary key (patient_id, id, version)
            ) strict, without rowid""",
            """create unique index one_open_course_a_patient on courses (patient_id)
                where current = 1 and status in ('active', 'paused')""",
            """create table facts (
                patient_id text not null references patients (id), id integer not null, version integer not null,
                revision integer not null, current integer not null check (current in (0, 1)),
                kind text not null check (
                    kind in ('weight', 'platelet-count', 'observation', 'dose', 'dose-not-given', 'event')
                ),
                day text not null, taken_at text, code text, value text, unit text, level text, until text,
                unreliable integer not null check (unreliable in (0, 1)),
                status text not null check (status in ('final', 'unverified', 'entered-in-error')),
                detail text not null, asked text not null, confirmed_by text, change text not null, reason text,
                recorded_by text not null, recorded_at text not null,
                primary key (patient_id, id, version)
            ) strict, without rowid""",
            "create index facts_by_day on facts (patient_id, kind, day) where current = 1",
            "create index facts_to_verify on facts (patient_id, id) where current = 1 and status = 'unverified'",
            """create table standings (
                patient_id text primary key references patients (id), clinic_id text not null, day text not null,
                revision integer not null, patient_version integer not null, program text not null,
                course_id integer not null, course_version integer not null, protocol text not null,
                protocol_sha256 text not null, action text not null, reasons text not null, input_sha256 text not null,
                unverified text not null, proposal_sha256 text not null, dose_due_on text, count_due_on text,
                dues text not null, answer text not null
            ) strict""",
            "create index standings_by_day on standings (clinic_id, day)",
            "create index standings_by_program on standings (clinic_id, program)",
            """create table worklist (
                patient_id text primary key references patients (id), clinic_id text not null, day text not null,
                program text not null, search_name text not null, rank integer not null, tasks text not null,
                line text not null
            ) strict""",
            "create index worklist_by_rank on worklist (clinic_id, rank, patient_id, tasks)",
            "create index worklist_by_day on worklist (clinic_id, day)",
            "create index worklist_by_program on worklist (clinic_id, program)",
            """create table protocol_editions (
                sha256 text primary key, protocol text not null, text text not null, kept_at text not null
            ) strict, without rowid""",
            """create table decisions (
                patient_id text not null references patients (id), id integer not null, version integer not null,
                current integer not null check (current in (0, 1)),
                kind text not null check (kind in ('accept', 'override', 'refer')),
                status text not null check (
                    status in (
                        'awaiting-second', 'in-force', 'referred', 'delivered', 'not-given', 'superseded', 'withdrawn',
                        'lapsed', 'void'
                    )
                ),
                day text not null, due_on text, level text, micrograms text, dose text, answer text not null,
                proposal_sha256 text not null, input_sha256 text not null, protocol text not null,
                protocol_sha256 text not null references protocol_editions (sha256), engine_version text not null,
                revision integer not null, course_id integer not null, course_version integer not null, born_on text,
                acknowledged text not null, reason_code text, comment text,
                signed_by text not null, signed_role text not null, signed_at text not null,
                second_by text check (second_by != signed_by), second_role text, second_at text, given_on text,
                reopened_answer text, reopened_at text, reopened_by text,
                reviewed integer not null check (reviewed in (0, 1)),
                change text not null, change_reason text, changed_by text not null, changed_at text not null,
                primary key (patient_id, id, version)
            ) strict, without rowid""",
            """create unique index one_undelivered_decision_a_patient on decisions (patient_id)
                where current = 1 and status in ('awaiting-second', 'in-force', 'referred')""",
            "create unique index one_current_version_a_decision on decisions (patient_id, id) where current = 1",
            "create index decisions_by_day on decisions (patient_id, day) where current = 1",
            """create index decisions_reopened on decisions (patient_id)
                where current = 1 and reviewed = 0 and reopened_answer is not null""",
            """create table dose_mismatches (
                patient_id text not null references patients (id), day text not null, version integer not null,
                decision_id integer, micrograms text, departs text not null, reason text, reason_by text,
                reason_at text,
                primary key (patient_id, day)
            ) strict, without rowid""",
            """create table external_ids (
                patient_id text not null references patients (id), system text not null, value text not null,
                fact_id integer not null, primary key (patient_id, system, value)
            ) strict, without rowid""",
            "create index external_ids_by_name on external_ids (system, value)",
            """create table unmatched_results (
                id text primary key, version integer not null, clinic_id text not null references clinics (id),
                system text not null, value text not null, collection text not null, body text not null,
                external_system text, external_value text, why text not null, might_be text not null,
                source text not null, received_by text not null, received_at text not null,
                status text not null check (status in ('open', 'assigned', 'dismissed')),
                patient_id text references patients (id), fact_id integer, reason text, settled_by text, settled_at text
            ) strict, without rowid""",
            "create index results_to_match on unmatched_results (clinic_id, received_at) where status = 'open'",
            """create unique index one_unmatched_result_a_message on unmatched_results (
                clinic_id, external_system, external_value
            ) where external_value is not null""",
            """create table received_messages (
                feed text not null, control_id text not null, sha256 text not null, at text not null,
                code text not null check (code in ('AA', 'AE')), acknowledgement text not null,
                primary key (feed, control_id, sha256)
            ) strict, without rowid""",
            "create index received_messages_by_age on received_messages (feed, at)",
            """create table accounts (
                id text primary key, version integer not null, username text not null unique,
                display_name text not null, role text not null, clinics text not null,
                active integer not null check (active in (0, 1)),
                password_hash text, failed_logins integer not null, locked_until text, created_at text not null
            ) strict, without rowid""",
            """create table clients (
                id text primary key, account_id text not null references accounts (id), label text not null,
                jwks text, jwks_url text, scopes text not null, created_at text not null, revoked_at text,
                check ((jwks is null) != (jwks_url is null))
            ) strict, without rowid""",
            """create table used_assertions (
                client_id text not null references clients (id), ident text not null, ends_at text not null,
                primary key (client_id, ident)
            ) strict, without rowid""",
            """create table tokens (
                sha256 text primary key, id text not null unique, account_id text not null references accounts (id),
                kind text not null check (kind in ('api', 'session', 'activation', 'access')), label text not null,
                permissions text, client_id text references clients (id), scopes text, created_at text not null,
                expires_at text not null, idle_seconds integer, used_at text, revoked_at text,
                check ((kind = 'access') = (client_id is not null)), check ((client_id is null) = (scopes is null))
            ) strict, without rowid""",
            """create table second_factors (
                account_id text primary key references accounts (id), secret text not null, made_at text not null,
                confirmed_at text, last_step integer, recovery_codes text not null
            ) strict, without rowid""",
            "create index tokens_of_account on tokens (account_id)",
            "create index tokens_of_client on tokens (client_id) where client_id is not null",
            """create table glass_breaks (
                patient_id text not null references patients (id), id text not null,
                account_id text not null references accounts (id), reason text not null, at text not null,
                until text not null, primary key (patient_id, id)
            ) strict, without rowid""",
            """create table kept_answers (
                account_id text not null references accounts (id), key text not null, request_sha256 text not null,
                status integer not null, headers text not null, body text not null, at text not null,
                primary key (account_id, key)
            ) strict, without rowid""",
            "create index kept_answers_by_age on kept_answers (at)",
            """create table audit (
                chain text not null, seq integer not null, at text not null, account_id text, role text,
                action text not null, subject text not null, clinic_id text, request_id text, detail text not null,
                mac text not null, primary key (chain, seq)
            ) strict""",
            """create table audit_heads (
                chain text primary key, seq integer not null, mac text not null, signature text not null
            ) strict, without rowid""",
            "create table spool_places (name text primary key, offset_bytes integer not null) strict, without rowid",
            """create table reminder_settings (
                clinic_id text primary key references clinics (id), version integer not null, settings text not null
            ) strict, without rowid""",
            """create table channels (
                id text primary key, version integer not null, clinic_id text not null references clinics (id),
                audience text not null check (
                    audience in ('technician', 'pharmacist', 'prescriber', 'ehr', 'gateway')
                ),
                kind text not null check (kind in ('apprise', 'webhook')), label text not null, address text not null,
                secret text, active integer not null check (active in (0, 1)), per_minute integer not null,
                minute text not null, in_minute integer not null, failures integer not null, rests_until text not null,
                error text
            ) strict, without rowid""",
            "create index channels_of_clinic on channels (clinic_id, id)",
            """create table contacts (
                owner text not null, channel_id text not null references channels (id), address text not null,
                changed_by text not null, changed_at text not null, primary key (owner, channel_id)
            ) strict, without rowid""",
            """create table reminders (
                patient_id text not null references patients (id), kind text not null, due_on text not null,
                version integer not null, clinic_id text not null, remind_on text not null,
                status text not null check (status in ('open', 'acknowledged', 'cancelled', 'done')),
                event text, sequence integer not null, round integer not null, step integer not null,
                next_at text, made_at text not null, changed_at text not null, changed_by text, reason text,
                primary key (patient_id, kind, due_on)
            ) strict, without rowid""",
            """create index reminders_to_tell on reminders (next_at) where status = 'open' and next_at is not null""",
            """create index reminders_by_day on reminders (clinic_id, remind_on, patient_id, kind)
                where status in ('open', 'acknowledged')""",
            """create table deliveries (
                about text not null, kind text not null, due_on text not null, step integer not null,
                recipient text not null, channel_id text not null, id text not null, clinic_id text not null,
                rank integer not null,
                status text not null check (status in ('waiting', 'sent', 'cancelled', 'dead', 'dismissed')),
                send_at text not null, attempts integer not null, leased_until text not null, leased_by text not null,
                error text, made_at text not null, sent_at text,
                primary key (about, kind, due_on, step, recipient, channel_id)
            ) strict, without rowid""",
            """create index deliveries_waiting on deliveries (channel_id, leased_until, rank, send_at)
                where status = 'waiting'""",
            "create index deliveries_dead on deliveries (about) where status = 'dead'",
            """create table calendar_feeds (
                sha256 text primary key, id text not null unique, about text not null, clinic_id text not null,
                label text not null, created_by text not null, created_at text not null, revoked_at text
            ) strict, without rowid""",
            """create table cds_feedback (
                account_id text not null references accounts (id), card text not null, service text not null,
                patient_id text references patients (id),
                outcome text not null check (outcome in ('shown', 'accepted', 'overridden')),
                reason_code text, reason_display text, comment text, suggestions text not null, at text not null,
                received_at text not null, primary key (account_id, card)
            ) strict, without rowid""",
            "create index cds_feedback_by_age on cds_feedback (account_id, received_at)",
            """create table imports (
                id text primary key, version integer not null, account_id text not null references accounts (id),
                clinics text not null, file_name text not null, kind text not null, sha256 text not null,
                size integer not null, plan text not null,
                status text not null check (status in ('waiting', 'running', 'done', 'failed', 'cancelled')),
                rows integer, patients integer, done_number text, report text not null, faults text not null,
                made_at text not null, ended_at text, attempts integer not null,
                leased_until text not null, leased_by text not null
            ) strict, without rowid""",
            "create index imports_to_do on imports (made_at) where status in ('waiting', 'running')",
            """create table jobs (
                name text primary key, version integer not null, at text not null
            ) strict, without rowid""",
            """create table change_counts (
                name text primary key, number integer not null
            ) strict, without rowid""",
            *(
                f"create trigger {table}_{done} after {done} on {table} begin {_COUNT_ACCESS}; end"
                for table in _OF_ACCESS
                for done in ("insert", "update", "delete")
            ),
            *(
                f"""create trigger one_current_version_a_fact_{done.split()[0]} before {done} on facts
                    when new.current = 1 and {_HAS_ANOTHER} begin {_REFUSE}; end"""
                for done in ("insert", "update of current")
            ),
        ),
        # Counted as the transaction ends: a row that each of them changes must not be held from its beginning on.
        (
            "create unique index one_current_version_a_fact on facts (patient_id, id) where current = 1",
            """create function count_access() returns trigger language plpgsql as $$ begin
                insert into change_counts values ('access', 1)
                    on conflict (name) do update set number = change_counts.number + 1;
                return null;
            end $$""",
            *(
                f"""create constraint trigger {table}_changed after insert or update or delete on {table}
                    deferrable initially deferred for each row execute function count_access()"""
                for table in _OF_ACCESS
            ),
        ),
    ),
)

_INDEX: Final = re.compile(r"create (?:unique )?index (\w+)")


def _indexes(statements: Iterable[str]) -> frozenset[str]:
    return frozenset(found[1] for one in statements if (found := _INDEX.match(plain_sql(one))))


#: The names of the indexes: without one, what must be unique may come twice, or what is looked for takes long.
INDEXES: Final = _indexes(statement for one in MIGRATIONS for statement in one.sqlite)
SERVER_INDEXES: Final = _indexes(statement for one in MIGRATIONS for statement in one.postgresql)
#: What acts by itself on what is written: the triggers of SQLite, whole; those of PostgreSQL, each with what it does.
TRIGGERS: Final = frozenset(
    plain_sql(statement) for one in MIGRATIONS for statement in one.sqlite if statement.startswith("create trigger")
)
SERVER_TRIGGERS: Final = frozenset(
    (name, plain_sql(body))
    for one in MIGRATIONS
    for name in re.findall(r"create constraint trigger (\w+)", " ".join(one.further))
    for body in re.findall(r"\$\$(.*)\$\$", " ".join(one.further), re.DOTALL)
)
