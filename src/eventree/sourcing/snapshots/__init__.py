"""Snapshots beside the command path: when they are taken, what they look like in a store, who writes them."""
