"""What is thought of an event: plain feature vectors in, scores out.

This package imports nothing else of Weir's.
"""
