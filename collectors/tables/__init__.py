"""The Delta tables: written durably, joined, rolled up, retained and vacuumed by one writer."""
