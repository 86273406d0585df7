"""Telling somebody: a JSON message posted to an address."""

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

TIMEOUT_SECONDS = 10.0


def post_notice(address: str, message: Mapping[str, Any]) -> None:
    """POST `message` as JSON to an http(s) `address`, in which `$NAME` stands for a variable of the environment.

    Raises OSError if it cannot be delivered. The address may hold a secret: no message of ours repeats it.
    """
    request = urllib.request.Request(
        os.path.expandvars(address), data=json.dumps(message).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
            pass
    except urllib.error.HTTPError as error:
        error.close()
        raise OSError(f"the webhook answers {error.code}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise OSError(f"the webhook cannot be reached ({type(reason).__name__})") from None
