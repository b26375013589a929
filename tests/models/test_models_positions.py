"""Sine-cosine positions against a loop."""

from __future__ import annotations

import math

import pytest

from sadm.models.positions import sincos_positions


@pytest.mark.parametrize(("width", "rows", "columns"), [(4, 2, 3), (16, 3, 2), (24, 1, 5)])
def test_positions_equal_a_loop(width: int, rows: int, columns: int) -> None:
    found = sincos_positions(width, (rows, columns))
    quarter = width // 4
    for row in range(rows):
        for column in range(columns):
            expected = []
            for coordinate in (column, row):
                angles = [coordinate / 10000 ** (i / quarter) for i in range(quarter)]
                expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            assert found[row * columns + column].tolist() == pytest.approx(expected, abs=1e-6)
