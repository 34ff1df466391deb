"""`python -m local.docker.health URL [COMPONENT]`: exit status 0 if the address answers and says that all is well.

Health checks run every few seconds: this needs the standard library only, 0.1 CPU-seconds instead of the several that
`airflow jobs check` takes.
"""

import json
import sys
from urllib.error import URLError
from urllib.request import urlopen

TIMEOUT = 10.0


def problem(url: str, component: str | None) -> str | None:
    """What is wrong, in a sentence; None if nothing is.

    :param component: of Airflow's `/api/v2/monitor/health`, for example `dag_processor`; it must be healthy there.
    """
    try:
        with urlopen(url, timeout=TIMEOUT) as response:
            answer = json.load(response)
    except (URLError, TimeoutError, ConnectionError) as error:
        return f"{url} does not answer: {getattr(error, 'reason', None) or error}."
    except ValueError:
        return f"{url} does not answer with JSON."
    if component is None:
        return None
    status = (answer.get(component) or {}).get("status")
    return None if status == "healthy" else f"{component} is {status or 'unknown'} according to {url}."


def main(arguments: list[str]) -> int:
    """Returns the exit status: 0 healthy, 1 not."""
    found = problem(arguments[0], arguments[1] if len(arguments) > 1 else None)
    print(found or "healthy")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
