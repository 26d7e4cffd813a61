"""The wire contract: what is sent to the service and what it sends, as marshmallow schemas. Imports nothing of ours.

Bounds and units are those of the course document, which has a parser of its own in the engine; a test holds the two
together.
"""
