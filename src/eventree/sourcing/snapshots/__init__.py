"""Snapshots, written in the background: when they are due, their stored form, and the actor that writes them."""
