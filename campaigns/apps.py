from django.apps import AppConfig


class CampaignsConfig(AppConfig):
    name = "campaigns"
    verbose_name = "Campaigns"

    def ready(self) -> None:
        from campaigns import using
        from subscribers import comparing

        comparing.offer("campaigns", using.uses_of)
