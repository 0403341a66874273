"""The settings by which people are scored, staged and cleaned up. `settings` takes all of them."""

from __future__ import annotations

from datetime import timedelta

from emailplatform import env

SCORE_HALF_LIFE = timedelta(days=max(1, env.whole("SCORE_HALF_LIFE_DAYS", 30)))
"""What somebody did counts half as much after so long."""
STAGE_DAYS = env.rising("STAGE_DAYS", "30,90,180", of=3)
"""Days since the last sign of life after which active people are cooling, dormant, lost."""
NEW_DAYS = max(1, env.whole("NEW_DAYS", 30))
"""Who has not shown a sign of life yet is new for so many days after the first mail."""
SCORE_STEP = max(1, env.whole("SCORE_STEP", 10))
"""A person's history gets a point when the score has moved so far."""
TRACK_ORIGINS = env.words("TRACK_ORIGINS")
"""Pages, as https://shop.example.com, that may tell what people did there."""
HYGIENE_MOST_PERCENT = env.whole("HYGIENE_MOST_PERCENT", 5)
"""A run that would touch more of the people waits for somebody's yes."""
HYGIENE_UNDO_DAYS = env.whole("HYGIENE_UNDO_DAYS", 30)
"""For so long a run can be taken back."""
