"""Regions: the fleet of one data centre, and what lies between several."""
