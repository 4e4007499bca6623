"""Recorded arrivals that ship with Flashover: excerpts of public traces, with their licences."""
