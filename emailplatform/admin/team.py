"""The team: who may sign in, and their roles."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Count, QuerySet
from django.forms import CheckboxSelectMultiple
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from emailplatform import roles
from emailplatform.admin.base import ModelAdmin
from emailplatform.formats import ago, badge

admin.site.unregister(User)
admin.site.unregister(Group)


_WORDS = {
    "is_active": ("Account works", "Switch it off instead of deleting people who leave."),
    "is_staff": ("May sign in here", "Without it nothing of the admin opens."),
    "groups": ("Roles", "What each allows is under Settings, Roles."),
    "is_superuser": ("May do everything", "Without any role. Keep it to one or two people."),
}
"""Field -> label and help."""


@admin.register(User)
class TeamAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[misc]  # both narrow the same attributes
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    heading = "Team"
    intro = "People who work with the platform. What each may do comes from their role."
    add_label = "Add team member"
    list_display = ["username", "email", "full_name", "roles", "state", "seen"]
    list_filter = ["is_active", "groups"]
    ordering = ["username"]
    filter_horizontal = []
    readonly_fields = ["last_login", "date_joined"]
    fieldsets = [
        (None, {"fields": ["username", "password"]}),
        ("Who", {"fields": [("first_name", "last_name"), "email"]}),
        ("What they may do", {"fields": ["is_active", "is_staff", "groups", "is_superuser"]}),
        ("Dates", {"fields": [("last_login", "date_joined")]}),
    ]
    add_fieldsets = [
        (None, {"fields": ["username", "email", "password1", "password2"]}),
        ("What they may do", {"fields": ["is_staff", "groups"]}),
    ]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Name things as the team does."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field and db_field.name in _WORDS:
            field.label, field.help_text = _WORDS[db_field.name]
        return field

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Roles as boxes to tick."""
        if db_field.name == "groups":
            kwargs["widget"] = CheckboxSelectMultiple
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def get_changeform_initial_data(self, request: HttpRequest) -> Any:
        return {**super().get_changeform_initial_data(request), "is_staff": True}

    @admin.display(description="Name")
    def full_name(self, user: User) -> str:
        return user.get_full_name()

    @admin.display(description="Role")
    def roles(self, user: User) -> str:
        names = [group.name for group in user.groups.all()]
        return ", ".join(["Everything"] if user.is_superuser else names) or "None yet"

    @admin.display(description="State")
    def state(self, user: User) -> SafeString:
        if not user.is_active:
            return badge("Switched off", "bad")
        return badge("May sign in", "ok") if user.is_staff else badge("No access", "warn")

    @admin.display(description="Last signed in", ordering="last_login")
    def seen(self, user: User) -> str:
        return ago(user.last_login, "Never")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Only a superuser makes superusers: nobody raises themselves."""
        fields = super().get_readonly_fields(request, obj)
        return fields if request.user.is_superuser else [*fields, "is_superuser"]

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        is_above = bool(obj and obj.is_superuser and not request.user.is_superuser)
        return not is_above and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        is_above = bool(obj and obj.is_superuser and not request.user.is_superuser)
        return not is_above and super().has_delete_permission(request, obj)


@admin.register(Group)
class RoleAdmin(DjangoGroupAdmin, ModelAdmin):  # type: ignore[misc]  # both narrow the same attributes
    heading = "Roles"
    intro = (
        "A role says what people of the team see and do. The four that come with the platform "
        "stay as they are; add your own for anything between."
    )
    add_label = "Add role"
    list_display = ["name", "meaning", "members_count"]
    search_fields = ["name"]
    ordering = ["pk"]
    actions = None

    @admin.display(description="What it allows")
    def meaning(self, group: Group) -> str:
        return roles.DESCRIPTIONS.get(group.name, "A role of your own.")

    @admin.display(description="People")
    def members_count(self, group: Any) -> int:
        return int(group.members)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        return super().get_queryset(request).annotate(members=Count("user"))

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        is_ours = obj is not None and obj.name in roles.NAMES
        return not is_ours and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        is_ours = obj is not None and obj.name in roles.NAMES
        return not is_ours and super().has_delete_permission(request, obj)
