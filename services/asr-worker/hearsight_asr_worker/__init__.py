"""Recognises parts of speech."""
