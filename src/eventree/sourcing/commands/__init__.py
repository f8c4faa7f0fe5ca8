"""The command path, in the order of a command.

- `requests`: validates the caller's arguments and makes the message for the actor.
- `actor`: takes the commands that wait, and loads, decides, appends and settles them together.
- `load`: reads aggregates from snapshots and events.
- `decide`: pure: decides commands into what to append, and settles the store's outcomes into answers.
- `answers`: at the caller again: time limits, errors as values, waiting for queries.
- `observed`: the same calls under an instrumentation.
"""
