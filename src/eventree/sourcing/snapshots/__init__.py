"""Snapshots, written in the background: their schedule, their stored form, and the actor that writes them."""
