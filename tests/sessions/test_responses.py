"""What the responses of a site with sessions say, under both servers and with each store."""

import pytest
from harness import eventually

NEW = {"data": {}, "new": True, "there": True}


def test_a_request_that_does_not_use_the_session_is_left_alone(site):
    cookie = site.log_in()
    for sent in (None, cookie, "session=rubbish"):
        answer = site.ask(cookie=sent, look=False)
        assert not answer.sets_cookie
        assert answer.one("Vary") is None and answer.one("Cache-Control") is None


def test_a_new_session_is_not_saved_before_it_has_content(site):
    answer = site.ask()
    assert answer.seen == NEW and not answer.sets_cookie


#: Whether a cookie is set; what the application says; what the client gets.
HEADERS = [
    (False, [], {"Vary": "Cookie", "Cache-Control": "private"}),
    (False, [["Cache-Control", "no-store"]], {"Vary": "Cookie", "Cache-Control": "no-store"}),
    (False, [["Cache-Control", "public"]], {"Vary": "Cookie", "Cache-Control": "public"}),
    (False, [["Vary", "Accept"]], {"Vary": "Accept, Cookie", "Cache-Control": "private"}),
    (False, [["Vary", "cookie"]], {"Vary": "cookie", "Cache-Control": "private"}),
    (False, [["vary", "*"]], {"Vary": "*", "Cache-Control": "private"}),
    (True, [], {"Vary": "Cookie", "Cache-Control": "private"}),
    (True, [["Cache-Control", "no-store"]], {"Vary": "Cookie", "Cache-Control": "no-store"}),
    (
        True,
        [["Cache-Control", "Public, max-age=60, s-maxage=90"]],
        {"Vary": "Cookie", "Cache-Control": "private, max-age=60"},
    ),
]


@pytest.mark.parametrize("is_set, headers, expected", HEADERS)
def test_no_shared_cache_gives_the_response_to_others(site, is_set, headers, expected):
    operations = [["set", "user", "ann"]] if is_set else []
    answer = site.ask(*operations, headers=headers)
    assert answer.sets_cookie == is_set
    assert {name: answer.one(name) for name in expected} == expected


def test_attributes_of_the_cookie(site):
    plain = site.ask(["set", "user", "ann"]).one("Set-Cookie")
    assert plain.partition("; ")[2] == "Path=/; HttpOnly; SameSite=Lax"
    secure = site.ask(["set", "user", "ann"], scheme="https").one("Set-Cookie")
    assert secure.startswith("__Host-session=")
    assert secure.partition("; ")[2] == "Path=/; Secure; HttpOnly; SameSite=Lax"


def test_a_persistent_session_has_a_cookie_that_outlives_the_browser(site):
    answer = site.ask(["set", "user", "ann"], ["persistent", True])
    assert "Max-Age=86400; " in answer.one("Set-Cookie")
    again = site.ask(["set", "user", "bob"], cookie=answer.pair)
    assert "Max-Age=86400; " in again.one("Set-Cookie")
    last = site.ask(["persistent", False], cookie=again.pair)
    assert "Max-Age" not in last.one("Set-Cookie")
    assert last.data == {"user": "bob"}
    next_one = site.ask(["clear"], ["set", "note", 1], cookie=again.pair)
    assert "Max-Age" not in next_one.one("Set-Cookie")


def test_changes_are_saved(site):
    cookie = site.ask(["set", "list", [1]], ["set", "é", {"ü": None}]).pair
    steps = [
        ([["append", "list", 2]], {"list": [1, 2], "é": {"ü": None}}),
        ([["delete", "list"], ["set", "n", 1.5]], {"é": {"ü": None}, "n": 1.5}),
        ([["clear"], ["set", "note", "gone"]], {"note": "gone"}),
    ]
    for operations, expected in steps:
        answer = site.ask(*operations, cookie=cookie)
        cookie = answer.pair if answer.sets_cookie else cookie
        assert site.ask(cookie=cookie).data == expected
        # Reading is no change.
        assert not site.ask(cookie=cookie).sets_cookie


def test_an_empty_session_is_removed(site):
    cookie = site.log_in()
    answer = site.ask(["delete", "user"], cookie=cookie)
    assert "Max-Age=0" in answer.one("Set-Cookie")


def test_an_error_of_the_server_saves_nothing_but_the_end_of_a_session(site, store):
    cookie = site.log_in()
    assert not site.ask(["set", "paid", 1], cookie=cookie, status="500 Oops").sets_cookie
    assert site.ask(cookie=cookie).data == {"user": "ann"}
    ended = site.ask(["clear"], cookie=cookie, status="500 Oops")
    assert "Max-Age=0" in ended.one("Set-Cookie")
    if store != "cookie":
        assert site.ask(cookie=cookie).seen == NEW


def test_what_is_too_large_is_an_error_that_says_so(site, store):
    length = 3000 if store == "cookie" else 2**20
    answer = site.ask(["fill", "x", length])
    assert answer.status == 500 and not answer.sets_cookie
    expected = (
        "the session needs a cookie of 4,1" if store == "cookie" else "the session has 1,048,"
    )
    eventually(lambda: expected in site.server.errors, what=expected)


def test_what_is_not_json_is_an_error_that_names_the_key(site):
    assert site.ask(["set", "\ud800", 1]).status == 500
    expected = "cannot be stored as JSON"
    eventually(lambda: expected in site.server.errors, what=expected)


def test_the_response_cache_gives_no_session_to_another_client(open_site):
    site = open_site("lockgate", "cookie", "--cache", "16MiB")
    public = [["Cache-Control", "public, max-age=60"]]
    # A response that does not use the session is stored.
    for _ in range(2):
        answer = site.ask(look=False, headers=public)
    assert "hit" in answer.one("Cache-Status")
    ann, bob = site.log_in(), site.ask(["set", "user", "bob"]).pair
    for cookie, user in [(ann, "ann"), (bob, "bob"), (ann, "ann")]:
        assert site.ask(cookie=cookie, headers=public).data == {"user": user}
        answer = site.ask(["set", "n", 1], cookie=cookie, headers=public)
        assert answer.sets_cookie and answer.data == {"user": user, "n": 1}
    cookies = {site.ask(["set", "user", "new"], headers=public).pair for _ in range(3)}
    assert len(cookies) == 3
