"""The HearSight API: takes jobs and answers."""
