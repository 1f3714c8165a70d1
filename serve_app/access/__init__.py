"""Who may ask for what: API keys, roles, budgets, and what a browser is told."""
