"""The pharmacist's pages: what REST does, in a browser, and without a script if need be.

frame           what every page passes: cookie, permission, visit, template; forms and what is wrong with them
forms           the forms; what they say goes through the schema of the REST route, and through its step
words           how amounts, days and codes are said: with units, without trailing zeros
assets          style and script, from this machine, once compressed
login           in and out; a form that was sent too late is kept
worklist        the first page
patients        a patient at a glance
people          patients found, made, changed, seen in an emergency
entries         the forms of what is recorded of a patient
facts           what was recorded: entered, corrected, verified; its history
courses         the course of a patient: started, changed, ended
results         results of no known patient
...             a module a noun
"""
