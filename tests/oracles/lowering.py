"""StableHLO of functions for devices that the machine need not have, and which branch it is."""

import jax

from facejax.render import platform

ACCELERATORS = ("cuda", "tpu")


def _count(text: str) -> tuple[int, int]:
    """(conditionals, loops) of a program; all conditionals are those of `platform.pin`."""
    return text.count("stablehlo.case"), text.count("stablehlo.while")


def accelerator_programs(function, *arguments, renders: bool = True) -> list[str]:
    """The programs that `function` becomes on each of ACCELERATORS, checked not to be the CPU's.

    On CPU, what renders pins results by conditionals, and loops over images and bands of pixels.
    """

    def trace(kind):
        with platform.lower_for(kind):
            return jax.jit(function).trace(*arguments)

    pins, loops = _count(trace("cpu").lower(lowering_platforms=("cpu",)).as_text())
    assert (pins > 0) == renders, pins
    traced = trace("cuda")  # the TPU's trace is the same
    texts = [traced.lower(lowering_platforms=(kind,)).as_text() for kind in ACCELERATORS]
    for text in texts:
        found = _count(text)
        assert found[0] == 0 and (found[1] < loops or not renders), (found, loops)
    return texts
