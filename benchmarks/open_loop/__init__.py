"""An open-loop load: the plan, the process that sends it, and what became of it."""
