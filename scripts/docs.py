"""Write the generated pages of docs/reference, and check that the links of all pages lead somewhere. `make docs` runs this.

With --check nothing is written: the exit code says whether the committed pages are current and all links hold.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from upesi.config.reference import reference

ROOT = Path(__file__).parent.parent
PAGES = {ROOT / "docs/reference/configuration.md": reference}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def main() -> int:
    """Write or check the generated pages, then check links."""
    check = "--check" in sys.argv[1:]
    stale = [page for page, make in PAGES.items() if not page.exists() or page.read_text() != make()]
    if not check:
        for page in stale:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(PAGES[page]())
            print(f"wrote {page.relative_to(ROOT)}")
        stale = []
    for page in stale:
        print(f"{page.relative_to(ROOT)}: is not current, run make docs")
    broken = broken_links()
    for line in broken:
        print(line)
    return 1 if stale or broken else 0


def broken_links() -> list[str]:
    """Return a complaint for each relative link of a Markdown page that leads to no file."""
    complaints = []
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/**/*.md")]:
        for target in LINK.findall(CODE.sub("", page.read_text())):
            path = target.partition("#")[0]
            if path and "://" not in target and not target.startswith("mailto:") and not (page.parent / path).exists():
                complaints.append(f"{page.relative_to(ROOT)}: no such file: {target}")
    return complaints


if __name__ == "__main__":
    sys.exit(main())
