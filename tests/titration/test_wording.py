"""Each code says its sentence once: with the numbers it rests on, and where its rule is printed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.support import answer, count, day, dose, event, weight
from titrator.titration.codes import Alert, Reason
from titrator.titration.protocol import Limit
from titrator.titration.wording import HOUSE_RULE, alerts, between, level_text, reasons, side

US = "Nplate US prescribing information, section 2.1"
LOW = [count(0, 38)]
ONCE = [dose(7, 100, 1)]
HELD = [dose(21, 300, 3), dose(14, 300, 3)]
SMALL = {"weights": [weight(7, 0.6)], "doses": [dose(7, 0.6, 1)], "platelet_counts": [count(0, 100)]}

REASONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "ABOVE-HOLD-LIMIT": (
        "us-itp-adult",
        {"doses": HELD, "platelet_counts": [count(0, 450)]},
        "Platelets 450 ×10⁹/L on 2026-03-09 are above 400: do not dose, count every week.",
    ),
    "ABOVE-RANGE": (
        "us-itp-adult",
        {"doses": [dose(14, 300, 3), dose(7, 300, 3)], "weights": [weight(70, 100)], "platelet_counts": [count(7, 250), count(0, 250)]},
        "Platelets 250 ×10⁹/L on 2026-03-09 are above 200 for 2 weeks in a row: lower one step from 3 micrograms/kg.",
    ),
    "ABOVE-RANGE-CONFOUNDED": (
        "us-itp-adult",
        {"doses": ONCE, "platelet_counts": [count(0, 250)], "events": [event(1, "rescue_therapy")]},
        "Platelets 250 ×10⁹/L on 2026-03-09 are above 200, but followed the rescue therapy of 2026-03-08: keep the level of 1 microgram/kg.",
    ),
    "ABOVE-RANGE-UNCONFIRMED": (
        "us-itp-adult",
        {"doses": ONCE, "platelet_counts": [count(0, 250)]},
        "Platelets 250 ×10⁹/L on 2026-03-09 are above 200, not yet for 2 weeks in a row: keep the level of 1 microgram/kg. It takes unconfounded counts above 200 each week, 4 to 10 days apart, the first 4 days or more after the last change of dose on 2026-03-02.",
    ),
    "AT-MAXIMUM": (
        "us-itp-adult",
        {"doses": [dose(7, 1000, 10)], "platelet_counts": LOW},
        "Platelets 38 ×10⁹/L on 2026-03-09 are below 50, but 10 micrograms/kg cannot be raised: keep the level.",
    ),
    "AWAITING-RESUME-COUNT": (
        "us-itp-adult",
        {"doses": HELD, "platelet_counts": [count(7, 450), count(0, 300)]},
        "On hold: platelets were above 400 on 2026-03-02. Platelets 300 ×10⁹/L on 2026-03-09 are not below 200 yet: do not dose, count every week.",
    ),
    "BELOW-TARGET": (
        "us-itp-adult",
        {"doses": ONCE, "platelet_counts": LOW},
        "Platelets 38 ×10⁹/L on 2026-03-09 are below 50: raise by 1 microgram/kg to 2 micrograms/kg.",
    ),
    "COUNT-MISSING": (
        "us-itp-adult",
        {"doses": ONCE},
        "No platelet count is known on this day: a count is needed before dosing.",
    ),
    "COUNT-NEEDED": (
        "us-itp-adult",
        {"doses": ONCE, "platelet_counts": [count(7, 38)]},
        "Platelets 38 ×10⁹/L on 2026-03-02 do not show the dose of 2026-03-02: a count from 2026-03-06 on is needed before the next dose.",
    ),
    "COUNT-STALE": (
        "us-itp-adult",
        {"doses": [dose(12, 100, 1)], "platelet_counts": [count(8, 38)]},
        "Platelets 38 ×10⁹/L on 2026-03-01 are 8 days old: a new count is needed before dosing.",
    ),
    "COUNT-UNRELIABLE": (
        "us-itp-adult",
        {"doses": ONCE, "platelet_counts": [count(0, 38, unreliable=True)]},
        "Platelets 38 ×10⁹/L on 2026-03-09 are marked unreliable (clumped or preliminary): repeat the count before dosing.",
    ),
    "DOSE-ABOVE-MAXIMUM": (
        "cart-2021-case",
        {"doses": [dose(7, 600, 6)], "platelet_counts": LOW},
        "The last dose, 600 micrograms (6 micrograms/kg) on 2026-03-02, is above the maximum of 8.6 micrograms/kg and 500 micrograms.",
    ),
    "DOSE-MISMATCH": (
        "us-itp-adult",
        {"doses": [dose(7, 150, 1)], "platelet_counts": LOW},
        "The last dose, 150 micrograms (1 microgram/kg) on 2026-03-02, does not fit its weight: 1 microgram/kg × 100 kg = 100 micrograms. Check dose, level and weight.",
    ),
    "DOSE-TOO-SMALL": (
        "us-itp-paediatric",
        SMALL,
        "For 0.6 kg of 2026-03-02 the dose is less than the 0.01 mL that a syringe shows: a prescriber decides.",
    ),
    "ELIGIBILITY-UNCONFIRMED": (
        "cart-2021-case",
        {"weights": [weight(1, 60)], "platelet_counts": LOW, "eligibility": ["mds-excluded"]},
        "Not confirmed before the first dose: marrow-infiltration-excluded. A prescriber confirms or refers.",
    ),
    "IN-RANGE": (
        "us-itp-adult",
        {"doses": ONCE, "platelet_counts": [count(0, 100)]},
        "Platelets 100 ×10⁹/L on 2026-03-09 are in range (50 to 200): keep the level of 1 microgram/kg.",
    ),
    "LOW-AFTER-MISSED-DOSE": (
        "us-itp-adult",
        {"doses": [dose(11, 100, 1)], "platelet_counts": LOW},
        "Platelets 38 ×10⁹/L on 2026-03-09 are below 50, but the last dose was 11 days ago, on 2026-02-26: the count may be low because a dose was missed. A prescriber decides whether to repeat or raise.",
    ),
    "NO-RESPONSE-AT-MAXIMUM": (
        "us-itp-adult",
        {"doses": [dose(ago, 1000, 10) for ago in (28, 21, 14, 7)], "platelet_counts": LOW},
        "Platelets 38 ×10⁹/L on 2026-03-09 are below 50 after 4 doses at the maximum since 2026-02-09: a prescriber decides whether to stop. Labels stop when four weeks at the maximum have not raised the count enough to avoid clinically important bleeding, and print no number; after stopping, count weekly for two weeks.",
    ),
    "OUTSIDE-POPULATION": (
        "us-itp-paediatric",
        {"born_on": "1990-01-01"},
        "Age 36 on 2026-03-09; this protocol serves ages 1 to 17 years.",
    ),
    "REDUCTION-BELOW-MINIMUM": (
        "us-itp-adult",
        {"doses": [dose(14, 100, 1), dose(7, 100, 1)], "platelet_counts": [count(7, 250), count(0, 250)]},
        "Platelets 250 ×10⁹/L on 2026-03-09 call for a reduction, but one step below 1 microgram/kg is less than 1 microgram/kg, the lowest dose here, and the source prints nothing for it: a prescriber decides whether to withhold or to keep the dose.",
    ),
    "RESUME-AFTER-HOLD": (
        "us-itp-adult",
        {"doses": HELD, "platelet_counts": [count(7, 450), count(0, 180)]},
        "Platelets 180 ×10⁹/L on 2026-03-09 are below 200 after a hold: resume one step below 3 micrograms/kg.",
    ),
    "RESUME-BELOW-MINIMUM": (
        "us-itp-adult",
        {"doses": [dose(14, 100, 1)], "platelet_counts": [count(7, 450), count(0, 180)]},
        "Platelets 180 ×10⁹/L on 2026-03-09 allow dosing again, but one step below 1 microgram/kg is less than 1 microgram/kg, the lowest dose here, and the source prints nothing for it: a prescriber decides whether to withhold or to keep the dose.",
    ),
    "RESUME-CONFOUNDED": (
        "us-itp-adult",
        {"doses": HELD, "platelet_counts": [count(7, 450), count(0, 180)], "events": [event(8, "platelet_transfusion")]},
        "Platelets 180 ×10⁹/L on 2026-03-09 would resume dosing, but each count over the hold limit followed the platelet transfusion of 2026-03-01: a prescriber decides at which dose.",
    ),
    "RESUME-UNSPECIFIED": (
        "eu-itp-adult-higher-cutoffs",
        {"doses": HELD, "platelet_counts": [count(7, 450), count(0, 180)]},
        "Platelets 180 ×10⁹/L on 2026-03-09 are no longer above 400, but the source prints no count at which to resume.",
    ),
    "SAFETY-EVENT": (
        "us-itp-adult",
        {"events": [event(5, "thrombosis"), event(3, "marrow_disorder")]},
        "Not resolved: thrombosis of 2026-03-04, marrow disorder of 2026-03-06. No dose without a prescriber's decision.",
    ),
    "SINGLE-DOSE-GIVEN": (
        "us-hs-ars",
        {"doses": [dose(3, 1000)]},
        "The single dose was given on 2026-03-06 (1000 micrograms at 100 kg, about 10 micrograms/kg; the protocol's dose is 10 micrograms/kg): this protocol has no further dose.",
    ),
    "STABLE": (
        "us-itp-adult",
        {
            "doses": [dose(7 * week, 100, 1) for week in range(1, 9)],
            "platelet_counts": [count(ago, 100) for ago in (36, 29, 22, 15, 8)],
        },
        "Stable for four weeks or more. Platelets 100 ×10⁹/L on 2026-03-01 are in range: keep the level of 1 microgram/kg, count monthly.",
    ),
    "START": (
        "us-itp-adult",
        {"weights": [weight(1, 60)], "platelet_counts": LOW},
        "Platelets 38 ×10⁹/L on 2026-03-09 are below 50 and no dose was given yet: start at 1 microgram/kg.",
    ),
    "START-NOT-INDICATED": (
        "us-itp-adult",
        {"weights": [weight(1, 60)], "platelet_counts": [count(0, 50)]},
        "Platelets 50 ×10⁹/L on 2026-03-09 are not below 50: this protocol does not start therapy at this count.",
    ),
    "THERAPY-LAPSED": (
        "us-itp-adult",
        {"doses": [dose(29, 100, 1)], "platelet_counts": LOW},
        "The last dose was on 2026-02-08, 29 days ago, more than 28 days: a prescriber decides how to start again.",
    ),
    "WEIGHT-DISPARATE": (
        "us-itp-adult",
        {"doses": ONCE, "platelet_counts": LOW, "weights": [weight(70, 100), weight(1, 130)]},
        "The newest weight, 130 kg of 2026-03-08, is 30 % or more away from the baseline, 100 kg of 2025-12-29: check the weight and its unit (kg or lb); if it is right, a prescriber decides whether to take a new baseline.",
    ),
    "WEIGHT-MISSING": (
        "us-itp-adult",
        {"doses": ONCE, "platelet_counts": LOW, "weights": []},
        "No body weight is known on this day: a weight in kg is needed to compute the dose.",
    ),
    "WEIGHT-STALE": (
        "us-itp-paediatric",
        {"doses": [dose(7, 10, 1)], "platelet_counts": LOW, "weights": [weight(85, 10)]},
        "The weight to dose by, 10 kg of 2025-12-14, is 85 days old, more than 84 days: weigh again before dosing.",
    ),
}  # fmt: skip

ALERTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "BELOW-TARGET-ON-HOLD": (
        "us-itp-adult",
        {"doses": HELD, "platelet_counts": [count(7, 450), count(0, 38)]},
        "Platelets 38 ×10⁹/L on 2026-03-09 are below 50 while on hold: the label's step down may not be what a prescriber wants now.",
    ),
    "COUNT-CONFOUNDED": (
        "us-itp-adult",
        {"doses": ONCE, "platelet_counts": LOW, "events": [event(1, "platelet_transfusion")]},
        "Platelets 38 ×10⁹/L on 2026-03-09 followed the platelet transfusion of 2026-03-08: the patient's own count may be lower.",
    ),
    "COUNT-STALE": (
        "us-itp-adult",
        {"doses": [dose(20, 300, 3)], "platelet_counts": [count(8, 450)]},
        "Platelets 450 ×10⁹/L on 2026-03-01 are 8 days old: a new count is needed before dosing.",
    ),
    "DOSE-CAPPED": (
        "cart-2021-case",
        {"doses": [dose(7, 500, 8.6)], "platelet_counts": [count(0, 100)], "weights": [weight(7, 60)]},
        "8.6 micrograms/kg × 60 kg = 516 micrograms is above the maximum: cut to 500 micrograms.",
    ),
    "DOSE-JUMP": (
        "us-itp-adult",
        {"doses": [dose(14, 100, 1), dose(7, 400, 4)], "platelet_counts": LOW},
        "The level went from 1 microgram/kg on 2026-02-23 to 4 micrograms/kg on 2026-03-02.",
    ),
    "DOSE-MISSED": (
        "us-itp-adult",
        {"doses": [dose(11, 100, 1)], "platelet_counts": [count(0, 100)]},
        "No dose is recorded since 2026-02-26, 11 days ago: missed, withheld, or given and not recorded?",
    ),
    "DOSES-TOO-CLOSE": (
        "us-itp-adult",
        {"doses": [dose(8, 100, 1), dose(7, 100, 1)], "platelet_counts": LOW},
        "The last two doses, on 2026-03-01 and 2026-03-02, are 1 day apart.",
    ),
    "LARGE-FALL": (
        "us-itp-adult",
        {"doses": ONCE, "platelet_counts": [count(7, 150), count(0, 60)]},
        "Platelets 60 ×10⁹/L on 2026-03-09 are less than half of 150 ×10⁹/L on 2026-03-02.",
    ),
    "LOSS-OF-RESPONSE": (
        "us-itp-adult",
        {"doses": [dose(ago, 1000, 10) for ago in (21, 14, 7)], "platelet_counts": [count(14, 60), count(7, 40), count(0, 38)]},
        "The newest two counts are below 50 after a response: look for a cause (antibodies against the drug, marrow changes).",
    ),
    "OFF-PROTOCOL-DOSE": (
        "us-itp-adult",
        {"doses": [dose(7, 150, 1.5)], "platelet_counts": LOW},
        "The last dose, 150 micrograms (1.5 micrograms/kg) on 2026-03-02, is no level that this protocol's steps reach.",
    ),
    "WEIGHT-CHANGED": (
        "us-itp-adult",
        {"doses": ONCE, "platelet_counts": LOW, "weights": [weight(70, 100), weight(1, 110)]},
        "The newest weight, 110 kg of 2026-03-08, is 10 % or more away from the baseline that doses are computed from, 100 kg of 2025-12-29.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("code", Reason)
def test_each_reason_says_its_sentence(code: Reason) -> None:
    protocol, course, text = REASONS[code]
    statement = {statement.code: statement for statement in reasons(answer(protocol, **course))}[code]
    assert statement.text == text
    assert statement.citation


@pytest.mark.parametrize("code", Alert)
def test_each_alert_says_its_sentence(code: Alert) -> None:
    protocol, course, text = ALERTS[code]
    statement = {statement.code: statement for statement in alerts(answer(protocol, **course))}[code]
    assert statement.text == text
    assert statement.citation


@pytest.mark.parametrize(
    ("protocol", "course", "text"),
    [
        ("us-itp-adult", {"born_on": "2020-01-01"}, "Age 6 on 2026-03-09; this protocol serves ages from 18 years."),
        ("us-hs-ars", {}, "No dose given yet: one single dose of 10 micrograms/kg."),
        (
            "us-itp-adult",
            {"doses": HELD, "platelet_counts": [count(7, 450), count(0, 90, unreliable=True)]},
            "On hold: platelets were above 400 on 2026-03-02. Platelets 90 ×10⁹/L on 2026-03-09 are marked unreliable: repeat the count; dosing resumes below 200.",
        ),
        (
            "eu-itp-adult-higher-cutoffs",
            {"doses": HELD, "platelet_counts": [count(7, 450), count(0, 90, unreliable=True)]},
            "On hold: platelets were above 400 on 2026-03-02. Platelets 90 ×10⁹/L on 2026-03-09 are marked unreliable: repeat the count; dosing resumes by decision of a prescriber.",
        ),
        (
            "us-itp-adult",
            {"doses": [dose(20, 300, 3)], "platelet_counts": [count(13, 450), count(8, 180)]},
            "On hold: platelets were above 400 on 2026-02-24. Platelets 180 ×10⁹/L on 2026-03-01 are 8 days old: a new count below 200 is needed to resume.",
        ),
        (
            "us-itp-adult",
            {
                "doses": [dose(85, 300, 3)],
                "platelet_counts": [count(70, 450), count(0, 180)],
                "weights": [weight(90, 100)],
            },
            "The last dose was on 2025-12-14, 85 days ago, more than 84 days, the longest hold: a prescriber decides how "
            "to start again.",
        ),
        (
            "us-itp-adult",
            {"doses": [dose(7, 1100, 11)], "platelet_counts": LOW},
            "The last dose, 1100 micrograms (11 micrograms/kg) on 2026-03-02, is above the maximum of 10 micrograms/kg.",
        ),
        (
            "jp-itp-adult",
            {"doses": [dose(7, 300, 3)], "platelet_counts": [count(0, 250)]},
            "Platelets 250 ×10⁹/L on 2026-03-09 are above 200: lower one step from 3 micrograms/kg.",
        ),
        (
            "us-itp-adult",
            {"doses": [dose(7, 110)], "platelet_counts": LOW, "weights": []},
            "No body weight is known on this day: a weight in kg is needed to compute the dose.",
        ),
    ],
)
def test_sentences_fit_the_case(protocol: str, course: dict[str, Any], text: str) -> None:
    assert [statement.text for statement in reasons(answer(protocol, **course))] == [text]


@pytest.mark.parametrize(
    ("platelets", "kg", "level", "text"),
    [
        (250, 70, 8, "lower one step from 7.1 micrograms/kg (500 micrograms at 70 kg; the level on record is 8)."),
        (38, 62.5, 8, "but 8 micrograms/kg, which is cut to 500 micrograms, cannot be raised: keep the level."),
        (38, 70, 7, "raise by 1 microgram/kg to 8 micrograms/kg."),
    ],
)
def test_sentences_tell_what_the_maximum_in_micrograms_does(
    platelets: float, kg: float, level: float, text: str
) -> None:
    doses = [dose(ago, min(kg * level, 500), level) for ago in (21, 14, 7)]
    counts = [count(7, platelets), count(0, platelets)]
    given = answer("cart-2021-case", doses=doses, weights=[weight(30, kg)], platelet_counts=counts)
    assert reasons(given)[0].text.endswith(text)


def test_two_raisers_of_a_count_are_both_named() -> None:
    events = [event(9, "platelet_transfusion"), event(5, "platelet_transfusion"), event(3, "rescue_therapy")]
    given = answer(doses=ONCE, platelet_counts=LOW, events=events)
    assert (
        "followed the platelet transfusion of 2026-03-04 and the rescue therapy of 2026-03-06:" in alerts(given)[0].text
    )


@pytest.mark.parametrize(
    ("ago", "kind", "named"),
    [
        (0, "platelet_transfusion", "the platelet transfusion of 2026-03-09"),
        (7, "platelet_transfusion", "the platelet transfusion of 2026-03-02"),
        (0, "rescue_therapy", "the rescue therapy of 2026-03-09"),
        (28, "rescue_therapy", "the rescue therapy of 2026-02-09"),
    ],
)
def test_a_raiser_is_named_on_the_first_and_the_last_day_that_it_confounds(ago: int, kind: str, named: str) -> None:
    given = answer(doses=ONCE, platelet_counts=LOW, events=[event(ago, kind)])
    assert f"followed {named}:" in alerts(given)[0].text


def test_what_raises_no_count_is_not_named_beside_what_does() -> None:
    """Events of the count's day and the day before that are of another kind; a transfusion of the day after."""
    others = [event(4, "adverse_event"), event(3, "red_cell_transfusion"), event(2, "platelet_transfusion")]
    given = answer(doses=ONCE, platelet_counts=[count(3, 38)], events=[event(4, "platelet_transfusion"), *others])
    assert "followed the platelet transfusion of 2026-03-05:" in alerts(given)[0].text


def test_a_birth_after_the_day_is_a_slip() -> None:
    text = reasons(answer(born_on="2026-03-10"))[0].text
    assert text == "The date of birth, 2026-03-10, is after the day asked about: check it."


def test_a_rule_is_cited_where_the_source_prints_it_and_else_as_ours() -> None:
    cited = {code: reasons(answer(protocol, **course))[0].citation for code, (protocol, course, _) in REASONS.items()}
    assert cited["BELOW-TARGET"] == US
    assert cited["IN-RANGE"] == f"{US} (no row printed; implied)"
    assert cited["WEIGHT-STALE"].startswith(f"{HOUSE_RULE} 3; related: Nplate US prescribing information, section 2")
    assert cited["LOW-AFTER-MISSED-DOSE"] == f"{HOUSE_RULE} 4, step 11"
    assert cited["RESUME-UNSPECIFIED"] == f"{HOUSE_RULE} 4, step 6"
    assert cited["DOSE-MISMATCH"] == f"{HOUSE_RULE} 3"


@pytest.mark.parametrize(
    ("comparator", "words"), [("<", "below 50"), ("<=", "50 or below"), (">", "above 50"), (">=", "50 or above")]
)
def test_limits_in_words(comparator: str, words: str) -> None:
    assert side(Limit(comparator, Decimal(50))) == words


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (">=", "<=", "50 to 200"),
        (">", "<=", "above 50 to 200"),
        (">=", "<", "50 to below 200"),
        (">", "<", "above 50 to below 200"),
    ],
)
def test_ranges_in_words(low: str, high: str, words: str) -> None:
    assert between(Limit(low, Decimal(50)), Limit(high, Decimal(200))) == words


@pytest.mark.parametrize(
    ("level", "words"), [("1", "1 microgram/kg"), ("2.5", "2.5 micrograms/kg"), (None, "unknown level")]
)
def test_levels_in_words(level: str | None, words: str) -> None:
    assert level_text(None if level is None else Decimal(level)) == words
    assert day(0) == "2026-03-09"
