"""The notification for a chat: the JSON that Amazon Q Developer in chat applications (formerly AWS Chatbot) shows.

Each client has its own Markdown and shows a proportional font, so the text has paragraphs, lists and bare addresses:
what every client shows alike. Nothing in it is aligned.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from cd2.notification.summary import RunSummary


def in_chat(sections: Sequence[str]) -> str:
    """The sections of a mail as they read well in a chat: the lines below a heading as a list."""
    return "\n\n".join(map(_as_list, sections))


def notification(summary: RunSummary, title: str, description: str, steps: Sequence[str], headline: str) -> str:
    """The custom notification, version 1.0."""
    return json.dumps(
        {
            "version": "1.0",
            "source": "custom",
            "id": summary.run_id,
            "content": {
                "textType": "client-markdown",
                "title": title,
                "description": description,
                "nextSteps": list(steps),
            },
            "metadata": {
                "threadId": _thread(summary),
                "summary": headline,
                "eventType": summary.status,
                "relatedResources": [summary.run_id],
                "additionalContext": {"environment": summary.environment, "status": summary.status},
            },
        }
    )


def _thread(summary: RunSummary) -> str:
    """The thread of a run: in one for all, a failure would be an answer to a message of months ago.

    Scheduled runs of the same moment have the same id in every copy of the DAG and in every Airflow, so the run's
    address belongs to it: it has Airflow's host and the DAG's id. AWS documents no limit for a thread's id; a digest
    is short and has no character that a client could mind, whatever a DAG or a run is called.
    """
    run = f"{summary.environment} {summary.run_id} {summary.run_url or ''}"
    return f"cd2-{summary.environment}-{hashlib.sha256(run.encode()).hexdigest()[:32]}"


def _as_list(section: str) -> str:
    first, *lines = section.split("\n")
    # What is indented goes on with the entry above it.
    return "\n".join([first, *(line if line.startswith(" ") else f"- {line}" for line in lines if line)])
