"""Open the built site as a file, without a network, and search it: `make docs` ends with this.

A word of the method must lead to its page, and no page may ask for anything but files.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from playwright.sync_api import Locator, TimeoutError, sync_playwright
from screens import BROWSER, FLAGS, MINUTE

SITE = Path(__file__).resolve().parents[1] / "build" / "site"
WORD, PAGE = "monotonicity", "method.html"


def _appears(place: Locator) -> bool:
    try:
        place.wait_for(timeout=MINUTE)
    except TimeoutError:
        return False
    return True


def main() -> None:
    """Exit with what is wrong."""
    if BROWSER is None:
        print("no Chromium here (Debian: apt-get install chromium): the site was not opened")
        return
    asked: list[str] = []
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=FLAGS)
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto((SITE / "index.html").as_uri())
        page.get_by_role("textbox", name="Search").press_sequentially(WORD)
        results = page.locator(".md-search-result__link")
        if not _appears(results.first):
            sys.exit("the search of the site finds nothing")
        pages = {re.sub(r".*/|[?#].*", "", a.get_attribute("href")) for a in results.all()}
        browser.close()
    elsewhere = [url for url in asked if not url.startswith(("file:", "about:", "blob:", "data:"))]
    if elsewhere:
        sys.exit(f"the site asks for {elsewhere[0]}: it must be read without a network")
    if PAGE not in pages:
        sys.exit(f"searching for {WORD!r} finds {sorted(pages)}, and not {PAGE}")
    print(f"searched without a network: {WORD!r} is on {len(pages)} pages")


if __name__ == "__main__":
    main()
