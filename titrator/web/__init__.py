"""The pharmacist's pages: what REST does, in a browser, and without a script if need be.

    frame           what every page passes: cookie, permission, visit, template; forms and what is wrong with them
    forms           the forms; what they say goes through the schema of the REST route, and through its step
    words           how amounts, days and codes are said: with units, without trailing zeros
    language        texts in the language of whoever reads
    assets          style and script, from this machine, compressed once
    who             who a page is about: in view while one scrolls, above all while something is signed
    charts          the chart of a course, with its data, its words, and the folder of those that were drawn
    entries         the forms of what is recorded

Rooms, each with its pages: login, activation, account (one's own); worklist; patients (at a glance), people (found,
made, changed), facts (recorded, corrected, the history), courses, decide, results, sheets (to print), reminders with
contacts; protocols; audit; staff (accounts, tokens, clients) and clinics. `site` puts them together.
"""
