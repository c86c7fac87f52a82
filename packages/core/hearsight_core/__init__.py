"""What the HearSight services agree on."""

__version__ = "0.1.0"
