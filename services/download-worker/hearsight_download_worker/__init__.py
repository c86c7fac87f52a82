"""Fetches media, finds the speech and cuts it into parts."""
