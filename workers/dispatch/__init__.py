"""The dispatcher and the gangs it starts: all that knows Ray."""
