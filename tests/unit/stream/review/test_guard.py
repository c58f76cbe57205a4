"""Only somebody on this machine who was given the token gets in."""

import stat

import pytest
from starlette.websockets import WebSocketDisconnect

from stream.review.guard import token_in
from tests.unit.stream.review.conftest import ADDRESS, TOKEN

VERDICT = "/api/v1/alerts/alert-e1/verdict"


def test_without_the_token_nothing_but_the_pulse_is_open(stranger):
    assert stranger.get("/healthz").status_code == 200
    for path in ("/", "/cases", "/case/x", "/static/weir.js", "/readyz", "/metrics", "/api/v1/openapi.json"):
        assert stranger.get(path).status_code == 401, path
    assert stranger.post("/api/v1/score", json={}).status_code == 401


def test_a_refused_program_is_told_how_to_get_in_and_a_person_too(stranger):
    assert "Authorization: Bearer" in stranger.get("/api/v1/stats").json()["detail"]
    page = stranger.get("/", headers={"accept": "text/html"})
    assert page.status_code == 401
    assert page.text.startswith("This is Weir's review queue")


def test_the_printed_link_gives_a_cookie_and_a_clean_address(stranger):
    answer = stranger.get(f"/?token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert f"weir_8765={TOKEN}" in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert stranger.get("/").status_code == 200


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "\udce4"])
def test_another_token_is_refused_however_it_comes(stranger, token):
    plain = token.encode("utf-8", "replace").decode()
    assert stranger.get("/", params={"token": plain}).status_code == 401
    assert stranger.get("/", headers={"authorization": f"Bearer {plain}"}).status_code == 401
    assert stranger.get("/", headers={"cookie": f"weir_8765={plain}"}).status_code == 401


def test_the_cookie_of_another_weir_on_this_machine_does_not_count(stranger):
    assert stranger.get("/", headers={"cookie": f"weir_8766={TOKEN}"}).status_code == 401


@pytest.mark.parametrize("path", ["//evil.example/x", "/%2f%2fevil.example"])
def test_the_link_leads_nowhere_else(stranger, path):
    answer = stranger.get(f"{ADDRESS}{path}?token={TOKEN}")
    assert answer.headers["location"] == "/evil.example" + ("/x" if path.endswith("x") else "")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "10.0.0.1:8765"]
)
def test_a_foreign_host_is_refused_even_with_the_token(client, host):
    """A name of theirs that they let resolve to 127.0.0.1: DNS rebinding."""
    assert client.get("/", headers={"host": host}).status_code == 421
    assert client.get("/healthz", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "[::1]:8765", "localhost"])
def test_this_machines_own_names_are_accepted(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "https://127.0.0.1:8765"},
        {"origin": "http://localhost:8765"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_page_cannot_post_with_the_analysts_cookie(stranger, headers):
    """Other ports of this machine are the same site to a cookie, and strangers all the same."""
    stranger.cookies.set("weir_8765", TOKEN)
    assert stranger.post(VERDICT, json={"verdict": "fraud"}, headers=headers).status_code == 403


def test_our_own_page_and_a_program_can_post(stranger, client):
    stranger.cookies.set("weir_8765", TOKEN)
    ours = {"origin": ADDRESS, "sec-fetch-site": "same-origin"}
    assert stranger.post(VERDICT, json={"verdict": "fraud"}, headers=ours).status_code == 404
    assert client.post(VERDICT, json={"verdict": "fraud"}).status_code == 404


@pytest.mark.parametrize("path", ["/", "/static/weir.js", "/api/v1/stats", "/nowhere", "/healthz"])
def test_every_answer_says_what_a_page_may_do(client, path):
    headers = client.get(path).headers
    assert headers["content-security-policy"].startswith(
        "default-src 'none'; style-src 'self'; script-src 'self'"
    )
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"


def test_a_refusal_carries_the_safe_headers_too(stranger):
    assert stranger.get("/").headers["referrer-policy"] == "no-referrer"


def test_no_socket_is_opened_past_the_guard(client):
    with pytest.raises(WebSocketDisconnect) as refusal, client.websocket_connect("/"):
        pytest.fail("a web socket was accepted")
    assert refusal.value.code == 1008


def test_the_token_stays_the_same_in_a_file_that_only_its_owner_reads(tmp_path):
    file = tmp_path / "keys" / "review.token"
    token = token_in(file)
    assert len(token) == 32
    assert token_in(file) == token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == ["review.token"]


@pytest.mark.parametrize("content", ["", "short\n"])
def test_a_token_file_that_was_not_written_to_its_end_lets_nobody_in(tmp_path, content):
    file = tmp_path / "review.token"
    file.write_text(content)
    file.chmod(0o600)
    assert len(token_in(file)) == 32


def test_a_token_that_others_could_read_is_replaced(tmp_path):
    file = tmp_path / "review.token"
    token = token_in(file)
    file.chmod(0o644)
    assert token_in(file) != token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
