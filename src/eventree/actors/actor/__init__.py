"""One actor: its mailbox, its reference, and the loop that runs it, independent of supervisors."""
