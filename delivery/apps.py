from django.apps import AppConfig


class DeliveryConfig(AppConfig):
    name = "delivery"

    def ready(self) -> None:
        from campaigns import targeting
        from delivery import checks, recalling, sparing  # noqa: F401 (checks register themselves)
        from subscribers import conditions

        conditions.offer("mail", recalling.fields)
        targeting.heed(sparing.often_mailed)
        from delivery import forgetting
        from subscribers import erasing

        erasing.register(forgetting.PART)
