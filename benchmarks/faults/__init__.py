"""Faults: what breaks while a server works, what that costs its users, and how soon it is over."""
