"""Every link of the documents leads somewhere, to the very heading, and every page is reached from the index."""

from __future__ import annotations

import re

import pytest
from doc_pages import ROOT, text_of

_PAGES = sorted(
    str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/**/*.md")]
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def _links(page: str) -> list[str]:
    return [target for target in _LINK.findall(_CODE.sub("", text_of(page))) if "://" not in target]


def _anchors(page: str) -> set[str]:
    """The anchors that renderers make of headings: lower case, punctuation gone, blanks to hyphens."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", _PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """A relative link names a file that is there and, behind #, one of its headings."""
    for target in _links(page):
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        name = str(file.resolve().relative_to(ROOT.resolve()))
        assert file.exists(), f"{page}: {target}"
        if anchor and file.suffix == ".md":
            assert anchor in _anchors(name), f"{page}: {target}"


def test_the_index_names_every_page() -> None:
    """docs/index.md leads to every page of docs, decisions by way of their own index."""
    linked = {str(((ROOT / "docs") / target.partition("#")[0]).resolve()) for target in _links("docs/index.md")}
    pages = {path for path in ROOT.glob("docs/**/*.md") if "adr" not in path.parts and path.name != "index.md"}
    assert {str(path.resolve()) for path in pages} <= linked
    decisions = set(_links("docs/adr/README.md"))
    assert decisions == {path.name for path in (ROOT / "docs/adr").glob("0*.md")}
