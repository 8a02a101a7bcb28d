"""Files of news, read as their publishers wrote them."""

from __future__ import annotations

from s2s_ft.data.prepare.news import parse_story


def test_only_line_feeds_end_a_line_of_a_story() -> None:
    story = "He was\x85 sure \u2028of it\r\n\r\nTwo\x0b\n\n@highlight\n\nIt\x85 happened\n"
    assert parse_story(story) == ("He was\x85 sure \u2028of it . Two .", ["It\x85 happened ."])
