"""Peers: what users take instead, as their makers' documentation has it; each is imported where it is measured."""
