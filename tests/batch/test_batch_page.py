"""The page of a batch: what it shows, what it links to, what a reader does with it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from squares import DRAW, PARAMETERS, quiet

from portraitlib.batch.batch import run_batch
from portraitlib.batch.notebook import EXECUTION, read_execution
from portraitlib.batch.results import kept_runs

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
NASTY = "\"'><script>alert(1)</script><img src=x onerror=alert(2)> </td>&amp; \\ud83d ${x} `"


class Tags(HTMLParser):
    """What a browser makes of a page: tags with their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def page(tmp_path_factory, write_notebook):
    """A batch of four in one page, with a prompt that means harm."""
    folder = tmp_path_factory.mktemp("page")
    notebook = write_notebook(folder / "01_#tiny 100%.ipynb", DRAW, parameters=PARAMETERS)
    vary = {"prompt": ["a man", NASTY], "seed": [9, 10]}
    done = run_batch([notebook], vary=vary, output=folder / "o{ut}", jobs=2, say=quiet)
    assert not done.failed, done
    return done.folder, (done.folder / "index.html").read_text(encoding="utf-8")


def test_no_prompt_becomes_part_of_the_page(page):
    tags = Tags(page[1]).tags
    assert [tag for tag, _ in tags].count("script") == 1
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert {a["src"].split("/")[-1] for tag, a in tags if tag == "img"} == {"portrait-000.png"}
    assert NASTY in {a.get("data-value") for _, a in tags}
    script = page[1].split("<script>")[1]
    assert "alert" not in script and "http" not in page[1]


def test_the_page_links_only_to_files_beside_it(page):
    from urllib.parse import unquote

    folder, text = page
    links = [a.get("href") or a.get("src") for tag, a in Tags(text).tags if tag in ("a", "img")]
    local = [unquote(link) for link in links if not link.startswith("#")]
    assert len(local) >= 13 and all((folder / link).is_file() for link in local)
    ids = {a["id"] for _, a in Tags(text).tags if "id" in a}
    assert all(link[1:] in ids for link in links if link.startswith("#"))


def test_every_run_is_a_row_with_what_differs_and_what_was_measured(page):
    rows = re.findall(r"<tr data-run.*?</tr>", page[1])
    values = [re.findall(r'data-value="([^"]*)"', row) for row in rows]
    heads = re.findall(r'<button type="button">(.*?)</button>', page[1])
    assert heads == ["notebook", "prompt", "seed", "twice the seed", "pictures", "seconds"] + [
        *("dollars", "state")
    ]
    assert sorted(int(row[2]) for row in values) == [9, 9, 10, 10]
    assert all(float(row[3]) == 2 * float(row[2]) for row in values)
    selects = re.findall(r"<label>(\w+) <select", page[1])
    assert selects == ["prompt", "seed"], "one value is no choice"
    report = json.loads((page[0] / "report.json").read_text())
    assert all(row["peak_memory_gb"] > 0.03 for row in report["notebooks"])


# What a reader does: sort by the seed, downwards; then only the first of the two prompts.
CLICKS = """<script>
const buttons = [...document.querySelectorAll("th button")], title = [];
buttons[2].click(); buttons[2].click();
const select = document.querySelector("select[data-column]");
select.value = select.options[2].value; select.dispatchEvent(new Event("change"));
for (const row of document.querySelectorAll("#runs tbody tr"))
  if (!row.hidden) title.push(row.cells[2].dataset.value);
for (const run of document.querySelectorAll("section"))
  if (!run.hidden) title.push(run.textContent.match(/seed (\\d+)/)[1]);
document.title = [...title, document.getElementById("count").textContent].join(", ");
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_reader_sorts_and_filters_the_runs(page):
    folder, text = page
    (folder / "clicked.html").write_text(text.replace("</body>", CLICKS), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command = [CHROMIUM, *flags, (folder / "clicked.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "<title>10, 9, 10, 9, 2 of 4 runs</title>" in done.stdout


def test_later_runs_join_the_page_and_newer_ones_replace_older(page, tmp_path):
    folder, _ = page
    before = kept_runs(folder)
    old = read_execution(before[0].folder)
    stale = folder / "old"
    stale.mkdir()
    record = json.loads((old.folder / EXECUTION).read_text())
    (stale / EXECUTION).write_text(json.dumps({**record, "address": "another"}))
    os.utime(stale, (1, 1))
    assert [run.folder for run in kept_runs(folder)] == [run.folder for run in before]
