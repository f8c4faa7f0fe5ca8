"""The command path: build requests, load aggregates, decide, append and settle in the actor, answer callers."""
