"""What the system tells of itself: every metric, log field and probe stands here."""
