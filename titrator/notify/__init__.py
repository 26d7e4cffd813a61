"""Notify: the channels by which reminders are told, behind one port. It knows nothing of the other rooms.

base               the port: Message in, nothing or NotSent out
address            which addresses are accepted, and what may be shown of one
apprise_channel    mail, SMS and chat
mail               mail, with a Message-ID of our own
webhook            Standard Webhooks, signed
log                where there is no channel yet
texts              what is told, as data: texts/en.toml
"""
