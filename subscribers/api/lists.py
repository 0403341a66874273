"""Lists and segments over HTTP."""

from __future__ import annotations

from rest_framework import mixins, serializers, viewsets

from emailplatform.api import Audited, Strict
from subscribers.flagging import Kind, Policy
from subscribers.models import MailingList


class ListSerializer(Strict, serializers.ModelSerializer):
    address_policy = serializers.DictField(
        child=serializers.ChoiceField(Policy.choices),
        required=False,
        help_text="Flag of an address -> accept, hold or refuse; flags left out: as usual.",
    )

    class Meta:
        model = MailingList
        fields = [
            "id",
            "name",
            "description",
            "double_opt_in",
            "is_open",
            "address_policy",
            "created_at",
        ]

    def validate_address_policy(self, policy: dict[str, str]) -> dict[str, str]:
        unknown = [kind for kind in policy if kind not in Kind]
        if unknown:
            known = ", ".join(Kind)
            raise serializers.ValidationError(f"“{unknown[0][:50]}” is no flag; use {known}.")
        return policy


class ListViewSet(
    Audited,
    mixins.ListModelMixin,
    mixins.CreateModelMixin,
    mixins.RetrieveModelMixin,
    mixins.UpdateModelMixin,
    viewsets.GenericViewSet,
):
    """Lists people subscribe to."""

    queryset = MailingList.objects.all()
    serializer_class = ListSerializer
    http_method_names = ["get", "post", "patch", "head", "options"]
