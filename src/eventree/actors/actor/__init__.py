"""One actor: its mailbox, its reference, and the loop that runs it. Knows nothing of supervisors."""
