from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from delivery import counting, reports
from delivery.counting import Delta
from delivery.models import CampaignStat
from tests import make

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
NINE = make.NOW.replace(minute=0)


def test_gains_and_losses_of_one_hour_leave_other_counters_alone():
    campaign, account = make.launched(), make.account()
    key = (campaign.pk, account.pk, "gmail")

    counting.add([Delta(*key, NINE, "opened", 3), Delta(*key, NINE, "sent", 5)])
    counting.add([Delta(*key, NINE, "opened", -2), Delta(*key, NINE + HOUR, "opened", 2)])

    rows = CampaignStat.objects.order_by("hour").values_list("hour", "opened", "sent")
    assert list(rows) == [(NINE, 1, 5), (NINE + HOUR, 2, 0)]


def test_a_recount_says_what_was_wrong_and_puts_it_right():
    campaign, account = make.launched(), make.account()
    for opened_at in (NINE, NINE + HOUR, None):
        make.message(campaign, provider=account, sent_at=NINE, opened_at=opened_at)
    make.message(campaign, provider=account, bounced_at=NINE, bounce_class="soft")
    counting.add([Delta(campaign.pk, account.pk, "gmail", NINE, "clicked", 7)])

    wrong = counting.rebuild(campaign.pk)

    assert wrong == {account.pk: {"sent": 3, "opened": 2, "soft_bounced": 1, "clicked": -7}}
    totals = reports.totals(campaign)
    assert (totals.sent, totals.opened, totals.clicked, totals.bounced) == (3, 2, 0, 0)
    assert counting.rebuild(campaign.pk) == {}


def test_a_recount_notices_what_was_counted_for_the_wrong_provider():
    campaign, right, wrong = make.launched(), make.account(), make.account()
    make.message(campaign, provider=right, sent_at=NINE)
    counting.add([Delta(campaign.pk, wrong.pk, "gmail", NINE, "sent", 1)])

    found = counting.rebuild(campaign.pk)

    assert found == {right.pk: {"sent": 1}, wrong.pk: {"sent": -1}}


def test_a_recount_leaves_other_campaigns_alone():
    first, second, account = make.launched(), make.launched(), make.account()
    counting.add([Delta(second.pk, account.pk, "gmail", NINE, "opened", 7)])

    counting.rebuild(first.pk)

    assert reports.totals(second).opened == 7


def test_the_command_recounts_one_campaign_or_all_and_says_what_it_found():
    right, wrong, account = make.launched(name="Right"), make.launched(name="Wrong"), make.account()
    counting.add([Delta(wrong.pk, account.pk, "gmail", NINE, "opened", 7)])
    out = StringIO()

    call_command("rebuild_stats", str(right.pk), stdout=out)
    call_command("rebuild_stats", stdout=out)

    assert out.getvalue().splitlines() == [
        f"Campaign {right.pk} (Right): right as it was",
        f"Campaign {right.pk} (Right): right as it was",
        f"Campaign {wrong.pk} (Wrong): {account}: opened -7",
        "Mail sent by API: right as it was",
    ]
    with pytest.raises(CommandError, match="There is no campaign 0"):
        call_command("rebuild_stats", "0")
