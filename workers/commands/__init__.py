"""ganctl commands that need torch or pictures, by entry point. Heavy imports wait until a command is called."""
