from django.apps import AppConfig
from django.db.models.signals import post_migrate


class EmailPlatformConfig(AppConfig):
    name = "emailplatform"

    def ready(self) -> None:
        from emailplatform import checks  # noqa: F401 (registers itself)

        # Without the app at hand, `task.delay()` would look for a broker of its own.
        from emailplatform.celery import write_schedule
        from emailplatform.roles import write_roles

        post_migrate.connect(write_schedule, sender=self, dispatch_uid="schedule")
        post_migrate.connect(write_roles, sender=self, dispatch_uid="roles")
