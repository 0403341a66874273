"""The account-level suppression list of Amazon SES.

Source: SES API v2, ListSuppressedDestinations (pages of 1,000, NextToken), PutSuppressedDestination
and DeleteSuppressedDestination, one address each. It knows bounces and complaints only.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from botocore.exceptions import BotoCoreError, ClientError

from delivery.providers import hearing
from delivery.providers.base import Account, Unavailable
from delivery.providers.lists import Listed, Lists, Page
from delivery.providers.ses_client import client_params, session

PLACE = "suppressed"
REASONS: Mapping[str, str] = MappingProxyType({"BOUNCE": "bounced", "COMPLAINT": "complained"})


class SESLists(Lists):
    label: ClassVar[str] = "Amazon SES"
    places = (PLACE,)
    most: ClassVar[int] = 1
    takes: Mapping[str, str] = MappingProxyType(
        dict.fromkeys(("bounced", "blocked", "complained"), PLACE)
    )

    def __init__(self, account: Account) -> None:
        self._client = session.client(client_params(account))

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def page(self, place: str, cursor: str) -> Page:
        asked = {"NextToken": cursor} if cursor else {}
        answer = _asked(self._client.list_suppressed_destinations, PageSize=1_000, **asked)
        found = [
            Listed(
                each["EmailAddress"], REASONS.get(each["Reason"], ""), each.get("LastUpdateTime")
            )
            for each in answer.get("SuppressedDestinationSummaries", [])
        ]
        return Page([each for each in found if each.reason], hearing.text(answer.get("NextToken")))

    def add(self, place: str, emails: Sequence[str], reason: str) -> Sequence[str]:
        word = "COMPLAINT" if reason == "complained" else "BOUNCE"
        for email in emails:
            _asked(self._client.put_suppressed_destination, EmailAddress=email, Reason=word)
        return emails

    def remove(self, place: str, email: str) -> bool:
        _asked(self._client.delete_suppressed_destination, EmailAddress=email)
        return True


def _asked(call: Callable[..., Any], **values: Any) -> Mapping[str, Any]:
    """Return the answer of a call; what is not found is an empty one."""
    try:
        answer: Mapping[str, Any] = call(**values)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code == "NotFoundException":
            return {}
        if code in ("TooManyRequestsException", "ThrottlingException"):
            raise Unavailable(
                "Amazon SES takes no more questions for now.", is_throttle=True
            ) from None
        raise Unavailable(
            f"Amazon SES answered {code}. Its key needs ses:ListSuppressedDestinations,"
            " ses:PutSuppressedDestination and ses:DeleteSuppressedDestination."
        ) from None
    except BotoCoreError as error:
        raise Unavailable(f"Amazon SES could not be asked ({type(error).__name__}).") from None
    return answer
