"""Romiplostim dose titration: a course of therapy in, the next dose out, with its reasons.

The rooms, from the ground up; a room knows only those below it:

    titration     the medicine: pure functions over values
    protocols     the labels and the case report, as checked data files
    outgoing      connections to other systems, ended in time
    store         what is kept: records in, records out
    security      who may do what: roles, passwords, secrets, the audit chain
    notify        channels by which reminders are told: mail, SMS, chat, webhooks
    workflow      the steps of the work: record, propose the next dose, replay a course, accounts, the trail
    bulk          many courses at once
    door          what every request passes: who asks, one transaction, the trail
    api           REST: schema in, workflow, schema out
    fhir          FHIR R4, $apply and CDS Hooks: what hospital systems speak
    hl7           HL7 v2: results of laboratories, over MLLP and HTTP
    web           pages for people: what REST does, in a browser
    settings      what an installation may choose
    console       answers as a person at a terminal reads them
    listening     sockets that listen
    logs          what the service tells of itself
    assembly      where concrete things meet
    app           the service as a WSGI application
    doctor        what an installation is examined for
    server        the service as processes on a port
    local         what the commands on an installation share
    people        the commands for clinics, users and tokens
    operate       the commands that make, verify and back up an installation, and that work beside it
    serving       the command that serves it
    cli           all commands

Nothing happens on import.
"""
