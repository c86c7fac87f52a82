"""The hearsight command and the local stack."""
