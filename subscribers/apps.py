from django.apps import AppConfig


class SubscribersConfig(AppConfig):
    name = "subscribers"
    verbose_name = "Audience"

    def ready(self) -> None:
        from subscribers import erasing, forgetting

        erasing.register(forgetting.PART)
