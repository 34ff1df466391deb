"""The address of the simulator that `make up` prints says what can be done there."""

import re
import shlex

import requests

from local.settings import REPOSITORY
from tests.simulator.running import NewSimulator

CALLS = (REPOSITORY / "local" / "simulator" / "service" / "control_api.py").read_text()


def test_a_browser_gets_a_page_with_links_and_a_terminal_the_same_text(new_simulator: NewSimulator) -> None:
    simulator = new_simulator("--rows", "10")
    for path in ("", "/", "/control", "/control/"):
        text = requests.get(simulator.url + path, timeout=60)
        assert text.headers["Content-Type"].startswith("text/plain")
        assert text.text.startswith("DAP simulator: ")
        page = requests.get(simulator.url + path, headers={"Accept": "text/html,*/*;q=0.8"}, timeout=60)
        assert page.headers["Content-Type"].startswith("text/html")
        links = re.findall(r'<a href="([^"]+)">', page.text)
        assert links
        for link in links:
            assert requests.get(link, timeout=60).ok, link


def test_every_call_is_described_and_every_example_works_as_it_stands(new_simulator: NewSimulator) -> None:
    simulator = new_simulator("--rows", "30")
    text = requests.get(f"{simulator.url}/control/", timeout=60).text

    called = set()
    for line in re.findall(r"curl .*", text):
        _, _, body, url = shlex.split(line)
        answer = requests.post(url, data=body, timeout=60)
        assert answer.ok, f"{line}: {answer.text}"
        called.add(url.rpartition("/")[2])

    assert called == _names("post")
    assert _names("get") <= set(re.findall(r"/control/(\w+)", text))
    assert "canvas.lamps" not in simulator.control.tables()


def _names(method: str) -> set[str]:
    found = re.findall(rf'(?:_{method}\("|web\.{method}\("/control/)(\w+)', CALLS)
    assert found
    return set(found)
