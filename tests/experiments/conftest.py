"""Fixtures of the report's tests."""

from __future__ import annotations

import pytest

from report_page import LANGUAGES, Page, html_of, rich_page


@pytest.fixture(params=LANGUAGES)
def rendered(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param, html_of(lang=request.param)


@pytest.fixture(params=LANGUAGES)
def rich(request: pytest.FixtureRequest) -> tuple[str, Page]:
    return request.param, rich_page(request.param)
