"""What the script of the pages does in a browser: it changes what is there, and takes nothing away.

The regions here are made up: `show` is what it does with one that the server has sent.
"""

from typing import Any

import pytest

from tests.browser.chromium import Tab
from tests.browser.conftest import OpenTab
from uow import TaskClient
from uow.api.pages.static_files import STATIC_FILES

REGION = """
<section id="made" data-live="{said}">
  <p class="{said}">{said}</p>
  {more}
  <details id="more"><summary>More</summary><p>{said}</p></details>
  <details><summary>Further</summary><p>{said}</p></details>
  <div class="scroll" id="box" tabindex="0"><table><tr><td>{said} and a long line</table></div>
  <table><tbody>
{rows}
  </tbody></table>
</section>
"""

ROW = '<tr id="row-{id}" data-row><td><a href="#{id}">{id}</a></td><td>{said}</td></tr>\n'

PUT = """(html) => {
  const main = document.querySelector("main");
  main.innerHTML = html;
  main.style.width = "100px";
}"""

SHOW = """(html) => { waiting.set("made", html); showWaiting(); }"""

FOCUSED = "document.activeElement.getAttribute('href') || document.activeElement.id"


def region(said: str, rows: str, more: str = "", **of_rows: str) -> str:
    """A region with these rows, a letter each."""
    told = (ROW.format(id=row, said=of_rows.get(row, "same")) for row in rows)
    return REGION.format(said=said, rows="".join(told), more=more)


@pytest.fixture
async def page(tab: Tab) -> Tab:
    await tab.go("/ui/tasks")
    await tab.ask(PUT, region("one", "abcdef", more="<p>gone soon</p>"))
    return tab


async def rows_of(tab: Tab, selector: str = "") -> str:
    script = "(which) => [...document.querySelectorAll(which)].map((row) => row.id.at(-1)).join('')"
    return str(await tab.ask(script, f"tr[data-row]{selector}"))


async def test_a_region_becomes_what_was_sent(page: Tab) -> None:
    await page.ask(SHOW, region("two", "xbcafy", more="<hr>", b="other"))
    assert await rows_of(page) == "xbcafy"
    assert await rows_of(page, "[data-changed]") == "xby"
    assert await page.text("#made > p.two") == "two"
    assert "other" in await page.text("#row-b")
    assert await page.ask("document.querySelectorAll('#made > p, #made > hr').length") == 2
    assert await page.ask("document.querySelector('#made').dataset.live") == "two"
    await page.ask(SHOW, "")
    assert await page.text("#made") == ""
    await page.ask(SHOW, region("two", "ab"))
    assert await rows_of(page) == "ab"


async def test_what_the_server_has_sent_before_changes_nothing(page: Tab) -> None:
    await page.ask("document.querySelector('#row-a').remove()")
    await page.ask(SHOW, region("one", "abcdef"))
    assert await rows_of(page) == "bcdef"


async def test_focus_scroll_position_and_what_is_open_stay(page: Tab) -> None:
    await page.ask("for (const one of document.querySelectorAll('details')) one.open = true")
    await page.ask("document.querySelector('#box').scrollLeft = 30")
    await page.ask("document.querySelector('#row-c a').focus()")
    await page.ask(SHOW, region("two", "xyabcf"))
    await page.ask(SHOW, region("three", "cxyab"))
    assert await page.ask(FOCUSED) == "#c"
    assert await page.ask("document.querySelectorAll('details[open]').length") == 2
    assert await page.ask("document.querySelector('#box').scrollLeft") == 30
    assert "three" in await page.text("details")


FIELDS = {
    "a tick": ('<input type="checkbox" id="field">', "document.querySelector('#field').click()"),
    "a choice": (
        '<select id="field"><option>a<option>b</select>',
        "document.querySelector('#field').selectedIndex = 1",
    ),
    "a text": ('<textarea id="field"></textarea>', "document.querySelector('#field').value = 'x'"),
}


PUT_BACK = """() => {
  const field = document.querySelector("#field");
  field.checked = false;
  if (field.nodeName === "TEXTAREA") field.value = "";
  if (field.nodeName === "SELECT") field.selectedIndex = 0;
  field.dispatchEvent(new Event("change", { bubbles: true }));
}"""


@pytest.mark.parametrize("what", FIELDS)
async def test_a_region_with_a_field_in_use_is_left_alone(page: Tab, what: str) -> None:
    field, use = FIELDS[what]
    await page.ask(SHOW, region("two", "abc", more=field))
    await page.ask(use)
    await page.ask(SHOW, region("three", "xyz", more=field))
    assert await rows_of(page) == "abc"
    assert await page.text("#live") == "Paused for what you have ticked or typed"
    await page.ask(PUT_BACK)
    await page.see("#made", "three")
    assert await rows_of(page) == "xyz"


async def test_rows_are_walked_and_opened_with_keys(page: Tab) -> None:
    await page.press("j", "j", "j", "k")
    assert await page.ask(FOCUSED) == "#b"
    await page.press("k", "k", "k")
    assert await page.ask(FOCUSED) == "#a"
    await page.press("Enter")
    assert await page.ask("location.hash") == "#a"


async def test_keys_search_and_help_and_are_letters_where_one_types(page: Tab) -> None:
    await page.press("Control+/", "Alt+j")
    assert await page.ask(FOCUSED) == ""
    await page.press("/")
    assert await page.ask(FOCUSED) == "find"
    await page.press("j", "?", "/")
    assert await page.do(lambda page: page.input_value("#find")) == "j?/"
    assert await page.ask("document.querySelector('#help').open") is False
    await page.ask("document.activeElement.blur()")
    await page.press("?")
    assert "the next row" in await page.text("#help[open]")
    await page.press("Escape")
    assert await page.ask("document.querySelector('#help').open") is False
    await page.do(lambda page: page.click("#to-help"))
    await page.do(lambda page: page.click("#help a"))
    assert await page.ask("document.querySelector('#help').open") is False


async def test_help_is_there_without_scripts(open_tab: OpenTab) -> None:
    tab = await open_tab(java_script_enabled=False)
    await tab.go("/ui/tasks")
    assert not await tab.do(lambda page: page.is_visible("#help"))
    await tab.do(lambda page: page.click("#to-help"))
    assert await tab.do(lambda page: page.is_visible("#help"))
    await tab.do(lambda page: page.click("#help a"))
    assert not await tab.do(lambda page: page.is_visible("#help"))


ZONES: dict[str, dict[str, Any]] = {
    "Asia/Kolkata": {"locale": "en-GB", "told": "17:30:15", "of_another_day": "31 Jan 2020"},
    "America/New_York": {"locale": "en-US", "told": "7:00:15", "of_another_day": "Jan 31, 2020"},
}


@pytest.mark.parametrize("zone", ZONES)
async def test_times_are_those_of_the_reader(open_tab: OpenTab, zone: str) -> None:
    said = ZONES[zone]
    tab = await open_tab(timezone_id=zone, locale=said["locale"])
    await tab.go("/ui/tasks")
    script = """(at) => {
        const one = document.createElement("div");
        one.innerHTML = `<time datetime="${at}" title="UTC">UTC</time>`;
        tellTimes(one);
        return one.textContent;
    }"""
    today = await tab.ask("new Date().toISOString().slice(0, 10)")
    at_noon = f"{today}T12:00:15.000Z"
    if await tab.ask("(at) => new Date(at).toDateString() === new Date().toDateString()", at_noon):
        assert (await tab.ask(script, at_noon)).startswith(said["told"])
    other = await tab.ask(script, "2020-01-31T12:00:15.000Z")
    assert said["of_another_day"] in other
    assert said["told"] in other


async def test_times_say_utc_when_pointed_at(tab: Tab, client: TaskClient) -> None:
    await client.enqueue("parcels.send", order=1)
    await tab.go("/ui/tasks")
    assert (await tab.ask("document.querySelector('main time').title")).endswith(" UTC")


def test_it_is_small() -> None:
    assert len(STATIC_FILES["live.js"].content) <= 10_000
