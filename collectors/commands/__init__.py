"""The verbs of the command that live in this room, one a module."""
