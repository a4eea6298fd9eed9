"""The web page in headless Chromium against the running application."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

QUESTION = "What is a tap in Spring XD and how is it created?"
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ANSWER_MS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, app: Any) -> Iterator[Page]:
    """A fresh visit; fails on script errors, refused resources and requests to other hosts."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    opened = context.new_page()
    faults: list[str] = []
    hosts: set[str] = set()
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("dialog", lambda dialog: faults.append(f"dialog {dialog.message}"))
    opened.on(
        "console",
        lambda message: (
            faults.append(message.text)
            if message.type == "error" and "status of 4" not in message.text
            else None
        ),
    )
    opened.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    opened.goto(app.url)
    yield opened
    context.close()
    assert faults == []
    assert hosts <= {urlsplit(app.url).netloc, ""}


def sign_in(page: Page, app: Any) -> None:
    page.get_by_label("User name").fill(app.admin_user)
    page.get_by_label("Password").fill(app.admin_password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_label("Your question")).to_be_visible()


def ask(page: Page, question: str) -> Any:
    """Ask and wait for the finished turn."""
    page.get_by_label("Your question").fill(question)
    page.get_by_role("button", name="Ask").click()
    turn = page.locator(".turn").last
    expect(turn.locator(".badge")).to_be_visible(timeout=ANSWER_MS)
    return turn


def test_a_wrong_password_is_told_and_the_right_one_enters(page: Page, app: Any) -> None:
    page.get_by_label("User name").fill(app.admin_user)
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("wrong user name or password")
    sign_in(page, app)
    expect(page.locator("#user")).to_have_text(app.admin_user)


def test_an_answer_streams_and_shows_numbered_sources_with_quotes(page: Page, app: Any) -> None:
    sign_in(page, app)
    page.evaluate(
        """() => {
          window.steps = new Set();
          window.lengths = new Set();
          new MutationObserver(() => {
            for (const item of document.querySelectorAll('.steps li.active')) {
              window.steps.add(item.dataset.step);
            }
            const answer = document.querySelector('.turn .answer');
            if (answer) window.lengths.add(answer.textContent.length);
          }).observe(document.getElementById('log'),
                     {subtree: true, childList: true, attributes: true, characterData: true});
        }"""
    )
    turn = ask(page, QUESTION)
    assert page.evaluate("[...window.steps]") == ["retrieving", "consulting", "fusing"]
    assert page.evaluate("window.lengths.size") > 2, "the text came in one piece"
    expect(turn.locator(".answer")).to_contain_text("[1]")
    expect(turn.locator(".badge")).to_have_text(re.compile(r"Confidence \d+ %"))
    first = turn.locator(".source").first
    expect(first.locator(".title")).not_to_be_empty()
    expect(first.locator("blockquote")).not_to_be_empty()
    markers = turn.locator(".marker")
    assert markers.first.get_attribute("href") == f"#{first.get_attribute('id')}"


def test_a_rating_shows_its_receipt(page: Page, app: Any) -> None:
    sign_in(page, app)
    turn = ask(page, QUESTION)
    turn.get_by_role("button", name="Good answer").click()
    expect(turn.get_by_role("status")).to_contain_text("pending")
    expect(turn.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "true")
    turn.get_by_role("button", name="Bad answer").click()
    turn.get_by_label("What would be right?").fill("A tap listens to a stream.")
    turn.get_by_role("button", name="Send correction").click()
    expect(turn.get_by_label("What would be right?")).to_be_hidden()


def test_a_conversation_goes_on_after_a_reload(page: Page, app: Any) -> None:
    sign_in(page, app)
    title = "How do I create a stream? " + page.evaluate("crypto.randomUUID()")
    text = ask(page, title).locator(".answer").text_content()
    page.reload()
    page.get_by_role("button", name=title).click()
    expect(page.locator(".turn .answer")).to_have_text(text or "")
    ask(page, QUESTION)
    expect(page.locator(".turn")).to_have_count(2)
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".turn")).to_have_count(0)


def test_markup_is_shown_as_text(page: Page, app: Any) -> None:
    sign_in(page, app)
    question = '<img src="x" onerror="alert(1)"><script>alert(2)</script> tap?'
    turn = ask(page, question)
    expect(turn.locator(".asked")).to_have_text(question)
    assert page.locator("#log img, #log script").count() == 0


def test_signing_out_forgets_the_token_and_the_conversation(page: Page, app: Any) -> None:
    sign_in(page, app)
    ask(page, QUESTION)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Password")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
    assert page.locator(".turn").count() == 0
    page.reload()
    expect(page.get_by_label("Password")).to_be_visible()


def test_a_refused_token_leads_back_to_the_sign_in(page: Page, app: Any) -> None:
    sign_in(page, app)
    page.evaluate("sessionStorage.setItem('alchemy.token', 'forged')")
    page.get_by_label("Your question").fill(QUESTION)
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#sign-in-error")).to_contain_text("token is not valid")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_light_and_dark(page: Page, app: Any, scheme: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=scheme)
    sign_in(page, app)
    ask(page, QUESTION)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    lightness = page.evaluate(
        "() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3)"
    )
    assert (sum(map(int, lightness)) > 384) == (scheme == "light")
    page.get_by_role("button", name="Conversations").click()
    expect(page.get_by_role("button", name="New conversation")).to_be_visible()
    page.get_by_role("button", name="New conversation").click()
    expect(page.get_by_label("Your question")).to_be_visible()
