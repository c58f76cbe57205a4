"""How events move: log, pipeline, decisions, review, and the command line.

This package may import ``features`` and ``models``; neither of them imports it.
"""
