"""One browser and one axe-core for all tests of the page."""

import pytest
from harness.chromium import Chromium
from harness.npm import file_of_package
from harness.patience import eventually

from window.fake_admin import FakeAdmin

#: Collects what a page that works never has.
PROBLEMS = """
window.problems = [];
addEventListener('error', event => problems.push(`error: ${event.message}`));
addEventListener('unhandledrejection', event => problems.push(`rejection: ${event.reason}`));
addEventListener('securitypolicyviolation', event => problems.push(`policy: ${event.blockedURI}`));
window.shifted = 0;
new PerformanceObserver(list => list.getEntries().forEach(one => { shifted += one.value }))
    .observe({type: 'layout-shift', buffered: true});
"""


class Window:
    """The page in a browser, with a stand-in for the admin listener."""

    def __init__(self, browser, admin):
        self.browser = browser
        self.admin = admin
        self.visits = 0

    def open(self, scenario, width=1600, scheme="light", url=None):
        self.admin.show(scenario)
        self.browser.resize(width, 1000)
        self.browser.prefer(scheme)
        self.visits += 1
        self.browser.open(f"{url or self.admin.url}?{self.visits}")
        self.wait_for(
            "state.now && (state.long || !state.data) && !document.body.matches('.first')"
        )

    def wait_for(self, condition, within=20):
        eventually(lambda: self.browser.evaluate(f"!!({condition})"), within=within, what=condition)

    def text(self, selector):
        return self.browser.evaluate(f"document.querySelector('{selector}').innerText")

    def facts(self):
        """The five answers at the top: what, since when, which code, what changed, is it us."""
        return self.browser.evaluate(
            "[...document.querySelectorAll('#facts dd')].map(dd => dd.innerText)"
        )

    def problems(self):
        return self.browser.evaluate("problems")


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    directory = tmp_path_factory.mktemp("axe")
    return file_of_package("axe-core@4.14.1", "axe.min.js", directory).read_text()


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    admin = FakeAdmin("quiet")
    try:
        browser = Chromium(tmp_path_factory.mktemp("browser"), admin.url)
        try:
            browser.at_each_document(PROBLEMS)
            yield Window(browser, admin)
        finally:
            browser.end()
    finally:
        admin.close()
