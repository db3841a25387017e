"""The services of deploy/compose.yaml as processes in namespaces of their own: what can be proved without an engine."""
