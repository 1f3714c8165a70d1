"""What the server says of its requests: spans of their traces, and a line in the log for each."""
