"""Who may do what, and the proof of who did: pure rules and cryptography, without a database.

permissions    roles, permissions, and the one table between them
scopes         what a token of a client is narrowed to
assertions     who a program is, by a token that it signed
passwords      argon2id
limits         how many requests a minute
secrets        tokens, ids, and their hashes
trail          the audit chain
"""
