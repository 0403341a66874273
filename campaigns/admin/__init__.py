"""Templates in the admin. Campaigns are delivery's: their page shows how far they have got."""

from campaigns.admin import templates  # noqa: F401
