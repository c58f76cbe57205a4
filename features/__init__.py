"""What is known about an event: wire events, the profile, exact windows, and the stores that keep their state.

This package imports nothing else of Weir's.
"""
