from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    name = "webhooks"
    verbose_name = "Webhooks"

    def ready(self) -> None:
        from subscribers import erasing
        from subscribers import retaining as keeping
        from webhooks import (
            checks,  # noqa: F401 (registers itself)
            forgetting,
            retaining,
        )

        erasing.register(forgetting.PART)
        keeping.register(*retaining.KINDS)
