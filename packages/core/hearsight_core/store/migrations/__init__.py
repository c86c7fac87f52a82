"""The history of the tables, newest last; run by `hearsight_core.store.migrate`."""
