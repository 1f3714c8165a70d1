"""The web dashboard: pages over the HTTP API, for those who would rather look than type."""
