"""The reader of queries sees what a query asks for."""

from __future__ import annotations

import pytest

from tests.deploy.queries import Asked, asked, existing_series, faults, grouped_by


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("up", ["up"]),
        (
            "sum by (le) (rate(a_bucket[5m])) / sum(b_total offset 1h) > 0.5",
            ["a_bucket", "b_total"],
        ),
        ("histogram_quantile(0.99, sum by (le) (rate(a_bucket[$__rate_interval])))", ["a_bucket"]),
        ("a:b:c and on () (d > 1e6 or absent(e))", ["a:b:c", "d", "e"]),
        ("(sum(a) or vector(0)) * 100", ["a"]),
    ],
)
def test_the_series_of_a_query_are_found(query: str, names: list[str]) -> None:
    """Functions, words, numbers, durations and labels are not taken for series."""
    assert [each.name for each in asked(query)] == names


def test_labels_by_which_series_are_chosen_or_put_together_are_found() -> None:
    """Those in braces belong to one series, those of `by` to the whole query."""
    query = 'sum by (job, kind) (a_total{job=~"x.+", status!="200"})'
    assert list(asked(query)) == [Asked("a_total", frozenset({"job", "status"}))]
    assert grouped_by(query) == {"job", "kind"}


def test_every_kind_of_metric_shows_its_series() -> None:
    """A counter ends in _total, a histogram has three series, a gauge has its own name."""
    series = existing_series()
    assert series["headrace_requests_total"] == {"endpoint", "status"}
    assert series["headrace_request_seconds_bucket"] == {"endpoint", "le"}
    assert series["headrace_lag_records"] == {"partition"}
    assert "headrace_requests" not in series


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("headrace_requests", "there is no series headrace_requests"),
        ('up{pod="a"}', "up has no label pod"),
        ("sum by (colour) (headrace_lag_records)", "nothing here has a label colour"),
    ],
)
def test_what_would_never_be_answered_is_named(query: str, fault: str) -> None:
    """A panel that stays empty for ever is found here, not in an outage."""
    assert faults(query, existing_series()) == [fault]
