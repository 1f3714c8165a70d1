"""Monitoring: what Prometheus and Grafana read, and what makes Grafana's dashboards."""
