"""Reminders: what is due of each patient, told to whom it concerns, until it is done.

days.py       which day of a clinic something falls on; pure
plan.py       how a clinic wants to be reminded: its settings, and when each step of an escalation is told
wanted.py     what is to be reminded of, told from where the patient stands; pure but for what it reads
keep.py       the rows, made and closed together with the standings
tell.py       the deliveries: planned, leased, sent, tried again, given up
messages.py   what is said
summaries.py  the digest of a day and the plan of a week
manage.py     what people do with them: acknowledge, put off, cancel; channels, contacts, dead letters
calendars.py  calendars to subscribe to
work.py       one beat of all of it
"""
