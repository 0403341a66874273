"""`manage.py train_churn`: fit the model of who falls silent, and say how well it does."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from webhooks import training


class Command(BaseCommand):
    help = (
        "Fit the model of who will do nothing for 90 days to our own past, test it on a later time"
        " that it has not seen, and keep it. Beat does it every week."
    )

    def handle(self, *_: Any, **__: Any) -> None:
        model = training.train(timezone.now())
        metrics = model.metrics
        if metrics:
            self.stdout.write(
                f"Learned from {metrics['learned_from']:,} people, tested on"
                f" {metrics['people']:,} of a later time: AUC {metrics['auc']:.3f},"
                f" Brier {metrics['brier']:.4f} (the usual share alone:"
                f" {metrics['brier_of_rate']:.4f})."
            )
            for each in metrics["bins"]:
                self.stdout.write(
                    f"  said {each['predicted']:6.1%}   came {each['happened']:6.1%}"
                    f"   of {each['people']:,}"
                )
        self.stdout.write(model.why_not or "It is used from the next scoring on.")
