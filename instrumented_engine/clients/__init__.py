"""Who uses the service, and the recorded arrivals that they follow."""
