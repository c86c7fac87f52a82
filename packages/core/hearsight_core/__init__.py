"""What the HearSight services agree on."""

__version__ = "0.2.0"
