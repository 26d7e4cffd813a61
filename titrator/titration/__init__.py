"""The medicine, as pure functions: no clock, no files, no network, no logging. README.md states the law of this room.

quantities     exact amounts, days, and their units
documents      JSON read strictly and written exactly
protocol       the rules of one label, as a checked value
course         the facts of one course, as a checked value
terms          what the rules call the facts: dosing weight, run, settled, on hold, ...
recommend      the decision, and the answer
wording        the sentences of an answer
preparation    from micrograms to millilitres and vials
grading        CTCAE grades of blood counts
errors         what can be wrong with an input
"""
