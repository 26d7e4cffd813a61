"""The store: records in, records out, nothing of the medicine and nothing of access rights.

base        the Store and Session ports, conditions, errors
records     what is stored, one class a table
rows        the only mapping of records to rows
schema      the tables and their migrations, as data
sqlite      the embedded store
draft       what is to be written, prepared on a reading transaction
together    one commit for the steps of several threads
spool       lines that outlive a process, on their way to the database
connect     open_store(url)
"""
