"""A seeded stream of payments with known fraud in it: for the demo, for tests, and for trying a profile."""
