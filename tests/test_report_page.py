"""Witnesses of tasks.evaluation.report_page: a page built of made-up results, looked at in a real browser."""

import base64
import hashlib
import html
import io
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markupsafe import escape
from PIL import Image
from shapes import edit_of

from tasks.evaluation.case_files import Case
from tasks.evaluation.evaluation_report import BenchmarkReport, Comparison, Leaderboard, LeaderboardRow, RealReport, Report
from tasks.evaluation.findings import Estimate, Finding
from tasks.evaluation.measurements import Changed, Scored, summarize
from tasks.evaluation.metrics import score_flavours
from tasks.evaluation.report_audit import Audit
from tasks.evaluation.report_page.page import render_page, write_page
from tasks.evaluation.report_page.pictures import encode_cases

EVIL = "<script>document.title='owned'</script>"
RED, GREEN, BLUE = (200, 40, 40), (40, 160, 60), (40, 60, 200)
HEIGHT, WIDTH = 60, 80


def flat(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), colour, np.uint8)


def make_scored(number: int, key: str) -> Scored:
    """A pair whose composite is off by some levels, and whose answers are off by fewer or more."""
    target = np.full((16, 16, 3), 100, np.uint8)
    mask = np.zeros((16, 16), np.uint8)
    mask[2:9, 2:10] = 255
    off = {"composite": 20 + number, "lab_shift": 15, EVIL: 18, "harmonized": 5 + 2 * number}
    answers = {method: np.where(mask[..., None] > 0, target + np.uint8(by), target) for method, by in off.items()}
    scores = {method: score_flavours(answer, target, mask) for method, answer in answers.items()}
    share = (0.03, 0.1, 0.22)[number % 3]
    row = {"key": key, "group": key, "subset": ("a", "b")[number % 2], "label": "<i>thing</i>", "fg_ratio": share, "method": "pitie"}
    return Scored(row, scores, width=16, height=16, num_foreground=56)


def make_case(scored: Scored | Changed, label: str, *, parametric: bool = True) -> Case:
    """Composite red, harmonized green, target blue: whatever shows says what it is."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[20:40, 20:60] = 255
    curves = np.stack([np.linspace(0, 1, 16) ** power for power in (0.8, 1.0, 1.2)])
    edit = edit_of(curves, np.linspace(-1, 1, 16).reshape(4, 4), "symmetric", 1.6) if parametric else None
    return Case(label, scored, flat(RED), mask, flat(GREEN), flat(BLUE) if isinstance(scored, Scored) else None, edit)


def make_report() -> Report:
    """Two benchmarks, everything optional there once, and names that try to be markup."""
    found = [make_scored(number, EVIL if number == 0 else f"pair_{number}") for number in range(12)]
    methods = summarize("photos", found, 13, 1)
    cases = [make_case(found[0], "best tenth"), make_case(found[5], "middle tenth", parametric=False), make_case(found[11], "worst tenth")]
    rows = (
        LeaderboardRow("DoveNet", {"fmse": 532.6, "psnr": 34.76}, "published table"),
        LeaderboardRow("iSSAM", {"fmse": 264.96, "psnr": 38.19}, "published table", why_not="the peak is the target's own"),
        LeaderboardRow("harmonized", {"fmse": 900.0, "psnr": 30.0}, "this run", ours=True),
    )
    first = BenchmarkReport(
        "photos & co", "Test split.", methods, found, cases,
        comparisons=[Comparison(EVIL, -400.0, -500.0, -300.0, 1e-4, 0.7)],
        leaderboards=[Leaderboard("A table", "All at 256 px.", ("fmse", "psnr"), rows)],
    )
    second = BenchmarkReport("scenes", "Test split.", summarize("scenes", found, 12, 1), found, cases[:1])
    finding = Finding(
        "ablations and claims", f"Does {EVIL} help?", "Three seeds.", "fMSE", "lower",
        (Estimate("curves", 900.0, 880.0, 920.0, 3, "60 photographs"), Estimate("both", 850.0, group="400 photographs")), "make ablation",
    )
    over_size = Finding(
        "ablations and claims", "Over size", "First.\nSecond.", "fMSE", "lower",
        tuple(Estimate(EVIL, 900.0 - at, 800.0, 950.0, 3, EVIL, at) for at in (60.0, 150.0)), axis="photographs",
    )
    changed = [Changed(scored.row, {"composite": 0.0, EVIL: 4.0, "harmonized": 2.5}, 16, 16, 56) for scored in found[:3]]
    real = RealReport("real composites", "Without targets.", changed, [make_case(changed[0], "rank 1 of 3 by change")])
    audit = Audit(
        counts=[{"source": "photos", "subset": EVIL, "photographs": 12, "objects": 14, "train": 20, "val": 2, "test": 12}],
        rejects=[{"source": "photos", "reason": "unreadable", "count": 2, "example": f"{EVIL}.jpg: truncated"}],
        shared_groups=0,
        duplicates=[{"source": "photos", "action": "moved", "count": 3, "example": EVIL}], duplicate_groups=2,
    )
    provenance = {"Code": {"git commit": "0a1b2c"}, "Values": {"seed": "1"}}
    return Report([first, second], audit, {"shading": finding, "size": over_size}, provenance, [real], {"hard": flat(RED)})


# --- The file ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "index.html"
    write_page(path, make_report())
    return path


def test_equal_reports_give_equal_bytes(page_file: Path) -> None:
    assert render_page(make_report()).encode() == page_file.read_bytes()


def test_names_are_shown_and_never_run(page_file: Path) -> None:
    text = page_file.read_text()
    assert EVIL not in text
    assert str(escape(EVIL)) in text
    assert text.count("<script") == 1
    assert "<i>thing</i>" not in text


def test_the_policy_lets_only_the_pages_own_script_run_and_nothing_be_fetched(page_file: Path) -> None:
    text = page_file.read_text()
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert script is not None
    assert policy is not None
    digest = base64.b64encode(hashlib.sha256(script.group(1).encode()).digest()).decode()
    rules = html.unescape(policy.group(1))
    assert f"script-src 'sha256-{digest}'" in rules
    assert "default-src 'none'" in rules
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert "url(" not in text


def test_ours_never_stands_without_the_baselines_the_number_of_images_and_the_intervals(page_file: Path) -> None:
    text = re.sub(r"data:[^\"]*", "", page_file.read_text())
    methods = make_report().benchmarks[0].methods
    for values in methods.values():
        assert f"[{values['fmse_low']:,.0f}, {values['fmse_high']:,.0f}]" in text
    assert "half a mean shift in Lab" in text
    assert "12 image pairs measured" in text
    assert "1 left out" in text
    assert "the peak is the target&#39;s own" in text


def test_sections_appear_only_where_there_is_something_to_show() -> None:
    report = make_report()
    text = render_page(replace(report, findings={}, mined={}))
    assert "contact sheet of" not in text
    assert "contact sheet of hard mined composites" in render_page(report)
    assert "Ablations and claims" not in text
    assert text.count("rows that cannot be compared, and why") == 1
    assert text.count("no row stands beside ours") == 1  # the second benchmark's


def test_a_finding_with_an_axis_is_drawn_as_lines_and_its_note_has_paragraphs() -> None:
    text = render_page(make_report())
    assert "<p>First.</p>" in text
    assert "<p>Second.</p>" in text
    assert text.count('class="line series-0"') == 2  # in the key, and in the one panel
    assert "840 [800, 950]" in text


def test_a_harmonizer_that_does_harm_is_said_to() -> None:
    report = make_report()
    methods = dict(report.benchmarks[0].methods)
    methods["harmonized"] = methods["harmonized"] | {"fmse": 9999.0, "fmse_of_composites": 8.0}
    text = render_page(replace(report, benchmarks=[replace(report.benchmarks[0], methods=methods)]))
    assert "doing nothing is as good or better" in text
    assert "is behind the best of the other methods, half a mean shift in Lab with" in text


def test_a_gain_that_may_be_chance_is_said_to() -> None:
    report = make_report()
    for low, high, words in ((-500.0, -300.0, "-300 fMSE at 95 %: beyond chance"), (-500.0, 40.0, "40 fMSE at 95 %: it may be chance")):
        beside = [Comparison("composite", -400.0, low, high, 0.01, 0.7)]
        assert words in render_page(replace(report, benchmarks=[replace(report.benchmarks[0], comparisons=beside)]))


def test_leaks_are_not_kept_quiet() -> None:
    report = make_report()
    assert "No source photograph stands in more than one split" in render_page(report)
    text = render_page(replace(report, audit=replace(report.audit, shared_groups=3)))
    assert "3 source photographs stand in more than one split" in text


def test_pictures_shrink_until_the_page_has_its_size() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)  # what a JPEG can make least of
    case = replace(make_case(make_scored(0, "noise"), "best tenth"), composite=noise, harmonized=noise, target=noise, mask=noise[..., 0])
    full = encode_cases([case])
    assert (full[0][0].width, full[0][0].height) == (640, 480)
    report = make_report()
    text = render_page(replace(report, benchmarks=[replace(report.benchmarks[0], cases=[case] * 4)]))
    assert 2e6 < len(text.encode()) < 10e6


def test_a_picture_is_the_pixels_that_were_given() -> None:
    pictures = {picture.name: picture for picture in encode_cases([make_case(make_scored(0, "a"), "best")])[0]}
    assert set(pictures) == {"composite", "harmonized", "target", "mask"}
    for name, colour in (("composite", RED), ("harmonized", GREEN), ("target", BLUE)):
        with Image.open(io.BytesIO(base64.b64decode(pictures[name].uri.split(",")[1]))) as image:
            assert np.abs(np.asarray(image).astype(int) - colour).max() <= 3


# --- In the browser ---------------------------------------------------------------------------------------------------------------------

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Visit:
    """A page that was opened, and what it did that it must not."""

    page: Any
    faults: list[str]  # console errors, uncaught exceptions
    requests: list[str]

    def evaluate(self, script: str) -> Any:
        return self.page.evaluate(script)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Any, page_file: Path) -> Iterator[Any]:
    """`visit(width=1280, scheme="light", script=True)`: the page opened from disk."""
    contexts = []

    def opened(*, width: int = 1280, scheme: str = "light", script: bool = True) -> Visit:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=script)
        contexts.append(context)
        seen = Visit(context.new_page(), [], [])
        seen.page.on("console", lambda message: seen.faults.append(message.text) if message.type in ("error", "warning") else None)
        seen.page.on("pageerror", lambda error: seen.faults.append(str(error)))
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.goto(page_file.as_uri())
        return seen

    yield opened
    for context in contexts:
        context.close()


def middle_colour(visit: Visit, share: float) -> np.ndarray:
    """The colour in the middle row of the first case's stage, at this share of its width."""
    with Image.open(io.BytesIO(visit.page.locator(".stage").first.screenshot())) as shot:
        pixels = np.asarray(shot.convert("RGB"))
    return pixels[round(0.8 * len(pixels)), round(share * pixels.shape[1])].astype(int)


def is_colour(found: np.ndarray, wanted: tuple[int, int, int]) -> bool:
    return bool(np.abs(found - wanted).max() <= 6)


def test_the_page_opens_without_a_fault_fetches_nothing_and_shows_every_image(visit: Any, page_file: Path) -> None:
    seen = visit()
    images = seen.evaluate("[...document.images].map(each => [each.complete, each.naturalWidth, each.alt.length])")
    assert len(images) == 4 * 4 + 3 + 4 + 1  # cases of pairs, their shading maps, a real composite with its own, a sheet
    assert all(complete and width > 0 and alt > 10 for complete, width, alt in images)
    assert seen.faults == []
    assert [url for url in seen.requests if not url.startswith("data:")] == [page_file.as_uri()]
    assert seen.page.title() == "Image harmonization, measured"


def test_the_slider_moves_by_keys_and_shows_more_of_the_composite(visit: Any) -> None:
    seen = visit()
    assert is_colour(middle_colour(seen, 0.3), RED)
    assert is_colour(middle_colour(seen, 0.6), GREEN)
    slider = seen.page.locator(".stage input").first
    slider.focus()
    for _ in range(10):
        seen.page.keyboard.press("ArrowRight")
    assert slider.input_value() == "70"
    assert slider.get_attribute("aria-valuetext") == "70 percent composite"
    assert is_colour(middle_colour(seen, 0.6), RED)
    seen.page.keyboard.press("Home")
    assert is_colour(middle_colour(seen, 0.3), GREEN)


def test_the_slider_follows_the_mouse(visit: Any) -> None:
    seen = visit()
    stage = seen.page.locator(".stage").first
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    mouse, row = seen.page.mouse, box["y"] + box["height"] / 2
    mouse.move(box["x"] + 0.5 * box["width"], row)
    mouse.down()
    mouse.move(box["x"] + 0.2 * box["width"], row, steps=4)
    mouse.up()
    assert int(seen.page.locator(".stage input").first.input_value()) == pytest.approx(20, abs=2)
    assert is_colour(middle_colour(seen, 0.1), RED)
    assert is_colour(middle_colour(seen, 0.4), GREEN)
    mouse.move(box["x"] + 0.9 * box["width"], row)  # released: it does not follow any more
    assert int(seen.page.locator(".stage input").first.input_value()) == pytest.approx(20, abs=2)


def test_what_is_compared_is_chosen_by_keys_for_each_case_alone(visit: Any) -> None:
    seen = visit()
    seen.page.locator(".choices input").first.focus()
    seen.page.keyboard.press("ArrowRight")
    assert is_colour(middle_colour(seen, 0.3), GREEN)
    assert is_colour(middle_colour(seen, 0.6), BLUE)
    assert seen.page.locator(".stage input").first.get_attribute("aria-label") == "Divider between harmonized (left) and target (right)"
    assert seen.page.locator(".stage input").nth(1).get_attribute("aria-label") == "Divider between composite (left) and harmonized (right)"


@pytest.mark.parametrize("width", [360, 320])
def test_a_phone_never_scrolls_sideways(visit: Any, width: int) -> None:
    seen = visit(width=width)
    seen.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert seen.evaluate("document.documentElement.scrollWidth") <= width
    assert seen.evaluate("Math.min(...[...document.querySelectorAll('.stage')].map(each => each.clientWidth))") > 0.8 * width


def luminance(colour: str) -> float:
    """Relative luminance of a CSS `rgb(...)`, as WCAG 2 defines it."""
    levels = np.array([float(number) for number in re.findall(r"[\d.]+", colour)[:3]]) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_both_schemes_are_readable_and_differ(visit: Any) -> None:
    papers = []
    for scheme in ("light", "dark"):
        seen = visit(scheme=scheme)
        style = "getComputedStyle(document.querySelector('{}')).{}"
        paper = luminance(seen.evaluate(style.format("body", "backgroundColor")))
        papers.append(paper)
        for part in ("body", "figcaption", "nav a", "svg .tick", ".is-ours"):
            ink = luminance(seen.evaluate(style.format(part, "fill" if part.startswith("svg") else "color")))
            assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5, f"{part} in the {scheme} scheme"
    assert papers[0] > 0.8
    assert papers[1] < 0.05


def test_everything_is_reached_by_the_tab_key_and_shows_that_it_is(visit: Any) -> None:
    seen = visit()
    reached = set()
    for _ in range(80):
        seen.page.keyboard.press("Tab")
        tag, outline = seen.evaluate(
            "(() => { const here = document.activeElement; const shown = here.type === 'range' ? here.closest('.stage')"
            " : here.type === 'radio' ? here.nextElementSibling : here;"
            " return [here.type || here.getAttribute('class') || here.localName, getComputedStyle(shown).outlineStyle]; })()"
        )
        if tag == "body":
            break
        assert outline != "none", f"{tag} does not show its focus"
        reached.add(tag)
    assert {"a", "range", "radio", "summary", "scroll", "mark"} <= reached


def test_headings_come_in_order_and_ids_are_unique(visit: Any) -> None:
    seen = visit()
    levels = seen.evaluate("[...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(each => Number(each.localName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))
    ids = seen.evaluate("[...document.querySelectorAll('[id]')].map(each => each.id)")
    assert len(ids) == len(set(ids))
    targets = seen.evaluate("[...document.querySelectorAll('a')].map(each => each.getAttribute('href').slice(1))")
    assert set(targets) <= set(ids)
    assert seen.evaluate("document.documentElement.lang") == "en"


def shown_pictures(visit: Visit) -> list[str]:
    return list(visit.evaluate(
        "[...document.querySelector('.stage').querySelectorAll('figure')].filter(each => getComputedStyle(each).visibility === 'visible'"
        " && each.getBoundingClientRect().width > 50).map(each => each.dataset.picture)"
    ))


def test_on_paper_and_without_scripts_all_four_pictures_stand_side_by_side(visit: Any) -> None:
    everything = ["composite", "harmonized", "target", "mask"]
    seen = visit()
    assert shown_pictures(seen) == ["composite", "harmonized"]
    seen.page.emulate_media(media="print")
    assert shown_pictures(seen) == everything
    assert shown_pictures(visit(script=False)) == everything
