"""How campaigns look in a list: their numbers, rates and states."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from campaigns import previewing
from campaigns.models import Campaign
from delivery import reports
from delivery.admin import progress
from emailplatform.admin import KeysetChangeList
from emailplatform.formats import number, share

Status = Campaign.Status
TONES = {
    Status.DRAFT: "quiet",
    Status.SCHEDULED: "info",
    Status.SENDING: "info",
    Status.PAUSED: "warn",
    Status.SENT: "ok",
    Status.HELD: "warn",
    Status.CANCELLED: "bad",
}


class CampaignList(KeysetChangeList):
    """Reads the numbers of the page's campaigns in two statements."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = self.result_list
        pks = [row.pk for row in rows]
        totals, sizes = reports.totals_of(pks), progress.sizes(pks)
        for row in rows:
            row.totals, row.size = totals[row.pk], sizes.get(row.pk, 0)


def headline(campaign: Campaign) -> str:
    """Return the subject of a campaign, as a line beside its name."""
    template = campaign.template
    return previewing.in_brief(campaign.subject or (template.subject if template else ""))


def rate(part: int, whole: int) -> SafeString | str:
    """Return a share with the count behind it; a dash of nothing."""
    if not whole:
        return "–"
    text = '{}<br><span class="ui-quiet-text ui-small">{}</span>'
    return format_html(text, share(part, whole), number(part))
