"""A whole service on one machine: broker, object store, Ray, dispatcher and exporter on loopback."""
