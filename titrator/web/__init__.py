"""Pages for people. So far one: where a new account sets its password."""
