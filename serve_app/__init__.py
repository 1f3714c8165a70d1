"""The serving application: what one request walks through."""
