"""What the service is deployed by."""
