"""Paths of the pages: behind a prefix, and where a login may lead on to."""

import pytest

from uow.api.page_paths import OVERVIEW, address, asked_for, is_page, page_or_overview, path_of


@pytest.mark.parametrize(
    "wanted",
    [
        "/ui/", "/ui/tasks", "/ui/tasks?state=failed&name=billing.*", "/ui/queues/arq:queue",
        "/ui/users/ann%20%26%20ben", "/ui/users/J%C3%BCrgen", "/ui/tasks?next=https://a.example//x",
        "/ui/names/a.b", "/ui/queues/a%2Fb",
    ],
)  # fmt: skip
def test_a_page_of_ours_is_gone_on_to(wanted: str) -> None:
    assert page_or_overview(wanted) == wanted


@pytest.mark.parametrize(
    "wanted",
    [
        "", "/", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example",
        "https://evil.example", "https:evil.example", "https:/ui/", "http:///ui/",
        "javascript:alert(1)", "data:text/html,x", "//evil.example/ui/", "/%5cevil.example",
        "%2f%2fevil.example", "/%2fevil.example", "/ui", "/uix/", "ui/", "ui", "./ui/", "/UI/",
        " /ui/", "\t/ui/", "\n/ui/", "/\n/evil.example", "/ui/\n", "/ui/\r\nSet-Cookie: a=b",
        "/ui/%0d%0aSet-Cookie:a", "/ui/%250a", "/ui/\t/x", "/ui/x y", "/ui/\x00", "/ui/%00",
        "/ui//evil.example", "/ui/%2f/evil.example", "/ui/\\evil.example", "/ui/%5cevil.example",
        "/ui/%255cevil", "/ui/../tasks", "/ui/..", "/ui/.", "/ui/./x", "/ui/%2e%2e/x", "/ui/%2E./x",
        "/ui/.%2e", "/ui/%252e%252e/x", "/ui/..%2fx", "/ui/é", "/ui/tasks?q=é", "/ui/tasks?a b",
        "/ui/tasks?\r\nx", "/ui/login", "/ui/login?next=/ui/login", "/ui/logout",
        "/ui/static/site.css", "/ui/" + "a" * 2_000, "/api/tasks", "@evil.example", ".evil.example",
    ],
)  # fmt: skip
def test_all_else_leads_to_the_overview(wanted: str) -> None:
    assert page_or_overview(wanted) == OVERVIEW


@pytest.mark.parametrize(
    ("root_path", "path", "expected"),
    [
        ("", "/ui/tasks", "/ui/tasks"),
        ("/ops", "/ops/ui/tasks", "/ui/tasks"),
        ("/ops", "/ui/tasks", "/ui/tasks"),
        ("/ops", "/ops", ""),
        ("/ops", "/opsui/tasks", "/opsui/tasks"),
        ("/u", "/ui/tasks", "/ui/tasks"),
        ("/ops", "/ops/ops/ui/", "/ops/ui/"),
    ],
)
def test_a_proxy_may_take_the_prefix_off_or_not(root_path: str, path: str, expected: str) -> None:
    assert path_of({"path": path, "root_path": root_path}) == expected


def test_the_path_is_the_one_that_routes_are_matched_with() -> None:
    """Else what is guarded and what is served would differ."""
    from starlette._utils import get_route_path

    roots = ["", "/", "/u", "/ui", "/ui/", "/ops", "/a/b"]
    for root_path in roots:
        for path in ["/", "/ui", "/ui/x", "/ui/ui/x", "/ops/ui/x", "/opsui", "/a/b", "/a/b/ui/x"]:
            scope = {"path": path, "root_path": root_path}
            assert path_of(scope) == get_route_path(scope), scope


def test_pages_are_what_is_below_ui() -> None:
    assert [one for one in ("/ui", "/ui/", "/ui/x", "/uix", "/UI/", "/", "") if is_page(one)] == [
        "/ui", "/ui/", "/ui/x",
    ]  # fmt: skip


def test_addresses_are_written_for_browsers() -> None:
    scope = {"path": "/ops/ui/users/ann & ben/100%", "root_path": "/ops", "query_string": b"a=%26"}
    assert asked_for(scope) == "/ui/users/ann%20&%20ben/100%25?a=%26"
    assert address(scope, "/ui/login", next="/ui/?a=b&c") == (
        "/ops/ui/login?next=%2Fui%2F%3Fa%3Db%26c"
    )
    assert address({"root_path": ""}, "/ui/") == "/ui/"
