"""A hospital's own table in: its file as rows, its columns as fields of ours, its rows as histories of patients.

values     a cell as a day, an amount, a text: exact, or what is wrong with it
fields     what a column may be, by which names and in which units
plan       which column is what: as somebody said, as guessed from the header, and what has to be asked
files      CSV, workbooks, lines of JSON as rows of cells, within limits
parts      the parts of a workbook, watched: how much each may be, and in which order
stage      the rows of a file, put together by patient in a file of ours
rows       the rows of a patient as entries
run        patient by patient into the record; what was not taken, with why

docs/import.md is for those who use it, docs/decisions/0019 says why it is so.
"""
