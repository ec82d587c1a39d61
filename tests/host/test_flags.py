import argparse
import math

import pytest

from facejax.host.flags import COUNT, POSITIVE, number


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", "", "inf"])
def test_a_number_of_things_is_positive(text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"found '{text}', wanted a whole number"):
        POSITIVE(text)


def test_numbers_in_their_range():
    assert POSITIVE("3") == 3 and COUNT("0") == 0 and number(float)("-2.5") == -2.5
    assert number(float, 0, 1)("1") == 1.0 and isinstance(number(int)("2"), int)
    for text in ("1.01", "nan", "-0.1", str(math.inf)):
        with pytest.raises(argparse.ArgumentTypeError, match="wanted a number from 0 to 1"):
            number(float, 0, 1)(text)
