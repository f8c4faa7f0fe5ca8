"""The command path: make requests, load aggregates, decide and settle, append in the actor, answer callers."""
