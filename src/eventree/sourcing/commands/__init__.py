"""The command path: requests, loading, deciding and settling, the actor, and what callers get."""
