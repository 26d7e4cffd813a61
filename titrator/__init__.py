"""Romiplostim dose titration: a course of therapy in, the next dose out, with its reasons.

The rooms, from the ground up; a room knows only those below it:

    titration     the medicine: pure functions over values
    protocols     the labels and the case report, as checked data files
    bulk          many courses at once
    workflow      the steps of the work: propose the next dose, replay a course
    console       answers as a person at a terminal reads them
    cli           the commands

Nothing happens on import.
"""
