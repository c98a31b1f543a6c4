"""What each attack on a session gets, under both servers and with each store."""

import base64
import json
import secrets

import pytest
from harness.session_site import SECRET
from lockgate._lockgate import Sealer

DAY = 86400
NEW = {"data": {}, "new": True, "there": True}


def tampered(cookie):
    """Each cookie that differs in one bit of the sealed bytes, or of the text."""
    name, _, value = cookie.partition("=")
    sealed = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        yield f"{name}={base64.urlsafe_b64encode(changed).decode().rstrip('=')}"
    for position in range(len(value)):
        for bit in range(7):
            character = chr(ord(value[position]) ^ 1 << bit)
            if character.isprintable() and character not in ' ";,\\':
                yield f"{name}={value[:position]}{character}{value[position + 1 :]}"


def forged(message, secret=SECRET, purpose=b"lockgate.sessions 1 ", name="session"):
    sealed = Sealer(secret.encode(), purpose).seal(json.dumps(message).encode(), name.encode())
    return f"{name}={base64.urlsafe_b64encode(sealed).decode().rstrip('=')}"


#: What a client may send in place of its cookie, all of which begin a new session.
FORGERIES = {
    "nothing": lambda cookie: "",
    "an empty value": lambda cookie: "session=",
    "a truncated value": lambda cookie: cookie[:-1],
    "half of the value": lambda cookie: cookie[: len(cookie) // 2],
    "a longer value": lambda cookie: cookie + "A",
    "padding": lambda cookie: cookie + "=",
    "the other alphabet of base64": lambda cookie: (
        cookie.replace("-", "+").replace("_", "/") + "=="
    ),
    "quotes": lambda cookie: '"'.join(cookie.partition("=")[::2]) + '"',
    "another name": lambda cookie: cookie.replace("session=", "sessions="),
    "another case of the name": lambda cookie: cookie.replace("session=", "Session="),
    "the name with a prefix": lambda cookie: "__Host-" + cookie,
    "random bytes": lambda cookie: "session=" + secrets.token_urlsafe(120),
    "sixty kilobytes": lambda cookie: "session=" + "A" * 5000 + cookie[8:],
    "plain JSON": lambda cookie: 'session=[0,9999999999,0,{"user":"ann"}]',
    "no ASCII": lambda cookie: "session=" + "é" * 60,
    "a secret of the attacker": lambda cookie: forged([0, 9**10, 0, {}], secret="x" * 32),
    "another purpose": lambda cookie: forged([0, 9**10, 0, {}], purpose=b"other"),
    "sealed for another cookie": lambda cookie: "session=" + forged("x", name="other")[6:],
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_cookie_begins_a_new_session(site, forgery):
    cookie = FORGERIES[forgery](site.log_in())
    answer = site.ask(cookie=cookie.encode("utf-8").decode("latin-1"))
    assert answer.seen == NEW
    # Another response may have set a valid cookie meanwhile.
    assert not answer.sets_cookie


def test_a_cookie_with_any_bit_changed_begins_a_new_session(site):
    cookie = site.log_in()
    changed = list(tampered(cookie))
    assert len(changed) > 1000 and cookie not in changed
    # Several cookies in one request: none of them opens.
    for chunk in chunks(changed, 20):
        assert site.ask(cookie="; ".join(chunk)).seen == NEW
    assert site.ask(cookie="; ".join([*chunk, cookie])).data == {"user": "ann"}


def chunks(values, size):
    return [values[index : index + size] for index in range(0, len(values), size)]


def test_cookies_of_two_names_are_not_interchangeable(store, open_site):
    site = open_site("lockgate", store)
    other = open_site("lockgate", store, name="admin")
    cookie, admin = site.log_in(), other.log_in()
    assert site.ask(cookie="session=" + admin.partition("=")[2]).seen == NEW
    assert other.ask(cookie="admin=" + cookie.partition("=")[2]).seen == NEW
    assert site.ask(cookie=f"{admin}; {cookie}").data == {"user": "ann"}


def test_a_cookie_without_https_is_worth_nothing_over_https(site):
    plain = site.log_in()
    secure = site.log_in(scheme="https")
    assert secure.startswith("__Host-session=")
    value = plain.partition("=")[2]
    for cookie in (plain, f"__Host-session={value}", f"__Secure-session={value}"):
        assert site.ask(cookie=cookie, scheme="https").seen == NEW
    assert site.ask(cookie=f"{plain}; {secure}", scheme="https").data == {"user": "ann"}
    assert site.ask(cookie="session=" + secure.partition("=")[2]).seen == NEW


def test_two_valid_cookies_of_one_name_are_ambiguous(site):
    victim, attacker = site.log_in(), site.ask(["set", "user", "eve"]).pair
    for cookie in (f"{victim}; {attacker}", f"{attacker}; {victim}"):
        assert site.ask(cookie=cookie).seen == NEW
    # A cookie that does not open says nothing, and the same one twice says the same.
    assert site.ask(cookie=f"session=rubbish; {victim}").data == {"user": "ann"}
    assert site.ask(cookie=f"{victim}; {victim}").data == {"user": "ann"}


def test_session_fixation(site):
    """The attacker plants a session of his own; the victim logs in with it."""
    planted = site.ask(["set", "basket", ["bait"]]).pair
    login = site.ask(["renew"], ["set", "user", "ann"], cookie=planted)
    assert login.pair != planted
    assert site.ask(cookie=login.pair).data == {"basket": ["bait"], "user": "ann"}
    stolen = site.ask(cookie=planted)
    assert "user" not in stolen.data


def test_replay_after_renewal(site, store):
    before = site.log_in()
    after = site.ask(["renew"], cookie=before).pair
    replayed = site.ask(cookie=before)
    # A cookie that has its content in it is valid until its lifetime ends: docs/sessions.md.
    assert replayed.data == ({"user": "ann"} if store == "cookie" else {})
    assert site.ask(cookie=after).data == {"user": "ann"}


def test_replay_after_logout(site, store):
    cookie = site.log_in()
    removal = site.ask(["persistent", True], ["clear"], cookie=cookie)
    assert removal.one("Set-Cookie") == ("session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")
    replayed = site.ask(cookie=cookie)
    assert replayed.data == ({"user": "ann"} if store == "cookie" else {})
    site.pass_time(DAY + 1)
    assert site.ask(cookie=cookie).seen == NEW


def test_a_write_after_the_end(site, store):
    cookie = site.log_in()
    site.ask(["clear"], cookie=cookie)
    answer = site.ask(["set", "note", 1], cookie=cookie)
    assert answer.pair != cookie
    revived = {"user": "ann"} if store == "cookie" else {}
    assert answer.data == {**revived, "note": 1}


#: Seconds that pass, and whether the session is still valid.
TIMES = {
    "before the idle lifetime ends": (DAY - 5, True),
    "after the idle lifetime": (DAY + 5, False),
    "after a year": (365 * DAY, False),
    "a clock that is behind by less than a minute": (-55, True),
    "a clock that is behind by more than a minute": (-70, False),
    "a clock that is behind by a year": (-365 * DAY, False),
}


@pytest.mark.parametrize("moment", TIMES)
def test_lifetimes(site, moment):
    seconds, is_valid = TIMES[moment]
    cookie = site.log_in()
    site.pass_time(seconds)
    answer = site.ask(cookie=cookie)
    assert answer.seen == ({**NEW, "data": {"user": "ann"}, "new": False} if is_valid else NEW)


def test_use_extends_the_idle_lifetime_but_not_the_absolute_one(site):
    cookie = site.log_in()
    for half_days in range(1, 28):
        site.pass_time(half_days * DAY // 2)
        answer = site.ask(cookie=cookie)
        assert answer.data == {"user": "ann"}, half_days
        cookie = answer.pair if answer.sets_cookie else cookie
    site.pass_time(14 * DAY + 5)
    assert site.ask(cookie=cookie).seen == NEW


def test_a_renewal_starts_the_absolute_lifetime_again(site):
    cookie = site.ask(["set", "user", "ann"], ["persistent", True]).pair
    for day in range(1, 21):
        site.pass_time(day * DAY - day * 60)
        answer = site.ask(*([["renew"]] if day == 10 else []), cookie=cookie)
        assert answer.data == {"user": "ann"}, day
        cookie = answer.pair if answer.sets_cookie else cookie


def test_old_secrets_open_and_the_new_one_seals(kind, store, open_site):
    old, new = "o" * 32, "n" * 32
    before = open_site(kind, store, secret=old)
    cookie = before.log_in()
    during = open_site(kind, store, secrets=[new, old])
    answer = during.ask(cookie=cookie)
    assert answer.data == {"user": "ann"} and answer.sets_cookie
    after = open_site(kind, store, secret=new)
    assert after.ask(cookie=answer.pair).data == {"user": "ann"}
    assert after.ask(cookie=cookie).seen == NEW
    # The next request with the new cookie writes nothing.
    assert not during.ask(cookie=answer.pair).sets_cookie
