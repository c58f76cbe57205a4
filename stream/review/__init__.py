"""Alerts become cases, analysts give verdicts, verdicts become labels."""
