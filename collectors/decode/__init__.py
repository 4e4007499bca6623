"""OTLP bodies to rows of the contract's tables, by the official classes and, many at once, as Arrow."""
