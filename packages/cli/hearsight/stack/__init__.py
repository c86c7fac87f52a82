"""The local stack: PostgreSQL, Valkey, the API and the workers on one machine, under one parent."""
