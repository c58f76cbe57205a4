"""What Alembic runs around the migrations: on the connection, and in the transaction, of who called `move`."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    transactional_ddl=True,  # SQLite's too, where the transaction is begun by hand (see stream/review/database.py)
    render_as_batch=True,
)
context.run_migrations()
