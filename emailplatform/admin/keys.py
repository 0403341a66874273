"""API keys: made once, shown once, revoked for good."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminSplitDateTimeWidget, UnfoldAdminTextInputWidget

from emailplatform.admin.base import Button, Empty, ModelAdmin
from emailplatform.formats import ago, badge
from emailplatform.models import ApiKey


class ApiKeyForm(forms.ModelForm):
    """Scopes as boxes to tick."""

    scopes = forms.MultipleChoiceField(
        choices=ApiKey.Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        help_text="Give a program what it needs and no more. To the API they are read, manage and "
        "send; send is for single mails as well.",
        error_messages={"required": "Choose at least one thing this key may do."},
    )
    expires_at = forms.SplitDateTimeField(
        label="Ends",
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget,
        help_text="Leave empty for a key that works until it is revoked.",
    )

    class Meta:
        model = ApiKey
        fields = ["name", "scopes", "expires_at"]
        widgets = {"name": UnfoldAdminTextInputWidget}


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin):
    form = ApiKeyForm
    intro = "Programs use a key to add people and send campaigns through the API."
    add_label = "Create API key"
    list_display = ["name", "key", "state", "may", "used", "made"]
    search_fields = ["name", "prefix"]
    ordering = ["-pk"]
    actions = None
    empty = Empty(
        "key",
        "No API keys yet",
        "A key lets a program, for example your shop, add people and start campaigns. "
        "You see its text once, when it is made.",
        "Create API key",
        "admin:emailplatform_apikey_add",
    )

    @admin.display(description="Begins with")
    def key(self, key: ApiKey) -> str:
        return f"{key.prefix}_…"

    @admin.display(description="State")
    def state(self, key: ApiKey) -> SafeString:
        if key.revoked_at:
            return badge("Revoked", "bad")
        is_over = key.expires_at is not None and key.expires_at <= timezone.now()
        return badge("Expired", "warn") if is_over else badge("Works", "ok")

    @admin.display(description="May")
    def may(self, key: ApiKey) -> str:
        return ", ".join(str(ApiKey.Scope(scope).label).lower() for scope in key.scopes)

    @admin.display(description="Last used")
    def used(self, key: ApiKey) -> str:
        return ago(key.last_used_at, "Never")

    @admin.display(description="Made")
    def made(self, key: ApiKey) -> str:
        return ago(key.created_at)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Revoked, not deleted: one can still see whose it was."""
        return False

    def own_urls(self) -> list[URLPattern]:
        return [self.deed("<int:pk>/revoke/", self.revoke, "revoke")]

    def revoke(self, request: HttpRequest, key: ApiKey) -> None:
        ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now())
        self.log_change(request, key, "Revoked.")
        self.message_user(request, f"{key.name} is revoked: it no longer opens anything.")

    def save_model(self, request: HttpRequest, key: ApiKey, form: Any, change: bool) -> None:
        if not change:
            key.created_by = request.user  # type: ignore[assignment]  # staff only, no AnonymousUser
            key.plain = key.generate()  # type: ignore[attr-defined]  # for response_add, not stored
        super().save_model(request, key, form, change)

    def response_add(
        self, request: HttpRequest, key: ApiKey, post_url_continue: Any = None
    ) -> HttpResponse:
        """Show the key's text: this page is the only place it is ever seen."""
        plain = key.plain  # type: ignore[attr-defined]  # set by save_model
        response = self.render(
            request, "admin/emailplatform/apikey/made.html", "Your new API key", key, plain=plain
        )
        response["Cache-Control"] = "no-store"
        return response

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> Any:
        key = self.get_object(request, object_id)
        buttons = []
        if key and not key.revoked_at and self.has_change_permission(request, key):
            question = f"Revoke {key.name}? Programs that use it are refused from now on, for good."
            url = self.url("revoke", key.pk)
            buttons = [Button("Revoke", url, "key_off", "danger", post=True, confirm=question)]
        context = {"buttons": buttons, **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)
