"""The one-machine default: a durable log in SQLite, its Faust transport, and a Valkey server of our own."""
