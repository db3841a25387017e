"""Grafana's pages: their description, and what Grafana makes of them, worked out where there is no Grafana."""
