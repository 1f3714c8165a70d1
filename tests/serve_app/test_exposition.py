"""The exposition: pages of several nodes become one that Prometheus can read."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from ray.exceptions import RaySystemError

from models.errors import StageUnavailable
from serve_app.exposition import OURS, Exposition, exposition_text, merge

PAGE = """\
# HELP ray_node_cpu Not ours.
# TYPE ray_node_cpu gauge
ray_node_cpu{node="NODE"} 1
# HELP ray_dermserve_images_total Images.
# TYPE ray_dermserve_images_total counter
ray_dermserve_images_total{node="NODE",stage="ingress"} 3
# HELP ray_serve_x_ms Of Serve.
# TYPE ray_serve_x_ms histogram
ray_serve_x_ms_bucket{le="+Inf",node="NODE"} 2
ray_serve_x_ms_count{node="NODE"} 2
ray_serve_x_ms_sum{node="NODE"} 9
"""


def test_pages_become_one() -> None:
    families = merge([PAGE.replace("NODE", "a"), PAGE.replace("NODE", "b"), ""])
    text = exposition_text(families)
    assert text.count("# TYPE ray_dermserve_images_total") == 1
    assert "ray_node_cpu" not in text
    read = {family.name: family for family in text_string_to_metric_families(text)}
    assert [sample.value for sample in read["ray_dermserve_images"].samples] == [3, 3]
    assert len(read["ray_serve_x_ms"].samples) == 6
    assert "ray_serve" not in exposition_text(families, OURS)


def test_a_page_of_something_else() -> None:
    assert merge(["<html>\n# just\n# HELP\n# TYPE x\n</html>"]) == {}


class _Agents:
    """Nodes, one of which does not answer and one of which answers with an error."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        self.asked.append(host)
        if host == "gone":
            raise httpx.ConnectError("refused")
        return httpx.Response(500 if host == "ill" else 200, text=PAGE.replace("NODE", host))


async def test_nodes_that_do_not_answer_are_left_out() -> None:
    agents = _Agents()
    nodes = [f"http://{name}/metrics" for name in ("a", "gone", "ill", "b")]
    exposition = Exposition(lambda: nodes, httpx.MockTransport(agents))
    text = exposition_text(await exposition.families())
    assert 'node="a"' in text
    assert 'node="b"' in text
    assert 'node="ill"' not in text


async def test_many_who_ask_are_served_by_one_fetch() -> None:
    agents = _Agents()
    exposition = Exposition(lambda: ["http://a/metrics"], httpx.MockTransport(agents))
    first = await exposition.families()
    assert await exposition.families() is first
    assert agents.asked == ["a"]


async def test_nobody_answers() -> None:
    exposition = Exposition(lambda: ["http://gone/metrics"], httpx.MockTransport(_Agents()))
    with pytest.raises(StageUnavailable, match="Try again"):
        await exposition.families()


async def test_ray_is_away() -> None:
    def away() -> list[str]:
        raise RaySystemError("Ray has not been started yet.")

    with pytest.raises(StageUnavailable, match="which nodes"):
        await Exposition(away).families()
