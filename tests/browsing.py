"""What a person does with the studio in a browser: turns to a tab, sets a number, drops a file."""

from __future__ import annotations

import itertools
import re
import time
from pathlib import Path

SHOTS = Path(__file__).parent.parent / "runs" / "browser"
TALL = 2600  # of a window that shows the whole studio at once
DRAW_MS = 120_000
TURN_S = 60  # until a tab has to be on top
QUIET_MS = 500


def said(page):
    return page.locator(".pl-say").inner_text()


def wait_said(page, pattern, timeout_ms=DRAW_MS):
    expected = re.compile(pattern)
    page.locator(".pl-say").filter(has_text=expected).wait_for(timeout=timeout_ms)
    return said(page)


def tab(page, name):
    """Turn to a tab: by the pointer, then by the keyboard, until it is on top.

    A click is lost on a page that is still being put together: lumino's bar of tabs listens once it
    is attached, and hears nothing while it believes that a tab is dragged.
    """
    from playwright.sync_api import TimeoutError

    bar = page.locator(".pl-tabs")
    found = bar.get_by_role("tab", name=name, exact=True)
    on_top = bar.locator(".lm-mod-current, .p-mod-current")
    end_s = time.monotonic() + TURN_S
    for turn in itertools.cycle((found.click, lambda **more: found.press("Enter", **more))):
        try:
            turn(timeout=5_000)
            found.and_(on_top).wait_for(timeout=2_000)
            return
        except TimeoutError:
            if time.monotonic() > end_s:
                break
        if page.locator(".jp-Dialog").count():
            page.keyboard.press("Escape")  # such as that the file has changed on the disk
        wait_quiet(page)
    told, path = on_top.all_inner_texts(), SHOTS / f"{page.kind}-no-tab.png"
    page.screenshot(path=str(path))
    raise AssertionError(f"the tab {name} does not come up; on top is {told}, see {path}")


def wait_quiet(page):
    """Wait until nothing on the page has changed for half a second, or ten seconds at most."""
    page.evaluate(
        """([quiet_ms, most_ms]) => new Promise((done) => {
          let waits = setTimeout(done, quiet_ms);
          const watch = new MutationObserver(() => {
            clearTimeout(waits);
            waits = setTimeout(done, quiet_ms);
          });
          const all = {subtree: true, childList: true, attributes: true};
          watch.observe(document.body, all);
          setTimeout(done, most_ms);
        })""",
        [QUIET_MS, 20 * QUIET_MS],
    )


def visible(page, name):
    """The setting of this name in the tab on top."""
    return page.locator(f".pl-{name}").locator("visible=true").first


def set_number(page, name, value):
    box = visible(page, name).locator("input[type=number]")
    box.fill(str(value))
    box.press("Enter")


def shown_number(page, name):
    return visible(page, name).locator("input[type=number]").input_value()


def thumbs(page):
    return page.locator(".pl-gallery .pl-thumb").count()


def generate(page):
    """Press the button and wait for the picture."""
    before = thumbs(page)
    page.locator(".pl-act button.mod-primary:enabled").click()
    page.wait_for_function(
        "count => document.querySelectorAll('.pl-gallery .pl-thumb').length > count",
        arg=before,
        timeout=DRAW_MS,
    )
    return wait_said(page, r" in [\d.]+ s")


def drop(page, selector, name, content, kind):
    """Drop a file on a place, as the browser tells of it."""
    page.evaluate(
        """([selector, name, bytes, kind]) => {
          const found = [...document.querySelectorAll(selector)];
          const place = found.find((each) => each.offsetParent !== null);
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], name, {type: kind}));
          for (const event of ["dragenter", "dragover", "drop"])
            place.dispatchEvent(new DragEvent(event, {bubbles: true, cancelable: true,
              dataTransfer: data}));
        }""",
        [selector, name, list(content), kind],
    )


def shoot_whole(page, shoot, name):
    """The whole studio, in a window as tall as it is."""
    size = page.viewport_size
    page.set_viewport_size({"width": size["width"], "height": TALL})
    page.wait_for_timeout(400)
    shoot(page.locator(".pl-studio").first, f"{page.kind}-{name}")
    page.set_viewport_size(size)


def overflowing(page):
    """What sticks out of the studio at its right side."""
    return page.evaluate(
        """() => {
          const edge = document.querySelector(".pl-studio").getBoundingClientRect().right + 1;
          const wide = (each) => each.offsetParent && each.getBoundingClientRect().right > edge;
          return [...document.querySelectorAll(".pl-studio *")].filter(wide)
            .filter((each) => !each.closest(".pl-sheet, .pl-help, .pl-recipe, option"))
            .map((each) => each.className).slice(0, 5);
        }"""
    )


def choose(page, place, paths):
    """Choose files by the button of a place, as a person would."""
    with page.expect_file_chooser() as chooser:
        page.locator(f".pl-up-{place} button").locator("visible=true").click()
    chooser.value.set_files([str(path) for path in paths])
