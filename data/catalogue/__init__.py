"""The catalogue: uploads, retraining runs, rollouts and the audit log, in one SQL database."""
