from django.apps import AppConfig


class DeliveryConfig(AppConfig):
    name = "delivery"

    def ready(self) -> None:
        from delivery import checks, recalling  # noqa: F401 (checks register themselves)
        from subscribers import conditions

        conditions.offer("mail", recalling.fields)
