"""Redis emptied under a running system that takes snapshots: put back, and what came since is read from the log."""
