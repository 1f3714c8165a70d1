"""What a comparison of servers measured, and how it is shown."""
