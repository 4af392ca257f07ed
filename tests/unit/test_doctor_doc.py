"""docs/doctor.md has every kind of finding, with the meaning that the command prints."""

import re
from pathlib import Path

from uow.questions.doctor.examination import SUBJECTS
from uow.questions.doctor.finding import KINDS
from uow.questions.doctor.visit import CHECK_SECONDS, CHECKS

PAGE = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()


def test_the_page_has_every_finding_and_no_other() -> None:
    rows = re.findall(r"^\| `([a-z.-]+)` \| (\w+) \| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)
    assert len({row[0] for row in rows}) == len(rows)
    assert {(id_, severity, means) for id_, severity, means, _ in rows} == {
        (one.id, str(one.severity), one.means) for one in KINDS.values()
    }
    assert all(mend for *_, mend in rows)


def test_the_page_says_how_many_checks_there_are_and_how_long_they_take() -> None:
    assert f"; {len(CHECKS)} checks" in PAGE
    assert f"ends after {CHECK_SECONDS:g} seconds" in PAGE
    assert f"each has {2 * CHECK_SECONDS:g} seconds" in PAGE


def test_every_subject_has_checks() -> None:
    assert {one.look.__module__ for one in CHECKS} == {one.__name__ for one in SUBJECTS}
