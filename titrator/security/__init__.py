"""Who may do what, and the proof of who did: pure rules and cryptography, without a database.

permissions    roles, permissions, and the one table between them
passwords      argon2id
secrets        tokens, ids, and their hashes
trail          the audit chain
"""
