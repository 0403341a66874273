"""Schedules: what runs by itself, how often, and whether it did."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django_celery_beat import admin as _beat  # registers its pages, which give way to ours
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldBooleanSwitchWidget

from emailplatform.admin.base import ModelAdmin
from emailplatform.formats import ago, badge, span

for _model in (ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule):
    _beat.admin.site.unregister(_model)


class ScheduleForm(forms.ModelForm):
    """How often, in seconds, and whether at all."""

    every = forms.IntegerField(
        label="Every (seconds)",
        min_value=1,
        max_value=7 * 86_400,
        widget=UnfoldAdminIntegerFieldWidget,
    )
    enabled = forms.BooleanField(label="Runs", required=False, widget=UnfoldBooleanSwitchWidget)

    class Meta:
        model = PeriodicTask
        fields = ["enabled"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        interval = self.instance.interval
        if interval:
            self.initial["every"] = round(interval.schedule.run_every.total_seconds())


@admin.register(PeriodicTask)
class ScheduleAdmin(ModelAdmin):
    form = ScheduleForm
    fields = ["name", "task", "enabled", "every", "last"]
    readonly_fields = ["name", "task", "last"]
    heading = "Schedules"
    intro = (
        "What the platform does by itself. Without “Start scheduled campaigns…” and “Start sending "
        "what is due”, no mail leaves."
    )
    list_display = ["name", "often", "state", "last", "runs_count"]
    list_display_links = ["name"]
    ordering = ["name"]
    actions = None

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="How often")
    def often(self, task: PeriodicTask) -> str:
        if task.interval:
            return f"every {span(task.interval.schedule.run_every)}"
        return str(task.crontab.human_readable if task.crontab else task.scheduler)

    @admin.display(description="State")
    def state(self, task: PeriodicTask) -> SafeString:
        return badge("Runs", "ok") if task.enabled else badge("Off", "warn")

    @admin.display(description="Last started")
    def last(self, task: PeriodicTask) -> str:
        return ago(task.last_run_at, "Never")

    @admin.display(description="Times started")
    def runs_count(self, task: PeriodicTask) -> str:
        return f"{task.total_run_count:,}"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("interval", "crontab")

    def save_model(self, request: HttpRequest, task: PeriodicTask, form: Any, change: bool) -> None:
        """Intervals are rows that tasks share: choose the fitting one, never change it."""
        if "every" in form.changed_data:
            task.interval, _ = IntervalSchedule.objects.get_or_create(
                every=form.cleaned_data["every"], period=IntervalSchedule.SECONDS
            )
            task.expire_seconds = form.cleaned_data["every"]
        super().save_model(request, task, form, change)
