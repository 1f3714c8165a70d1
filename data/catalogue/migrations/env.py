"""How Alembic reaches the catalogue: in the transaction that `data.catalogue.schema` hands over."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
