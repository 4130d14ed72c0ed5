"""Whether a contender's result is ours, as far as it has to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# A relative error d moves a share of about 2 d / s of the codes across the middle between two of them, s apart relative
# to their size: 2^-4 at least for e4m3, 2^-8 for bf16. The contract's interval, 2^-20 each way, makes that 3 in 100,000
# and 5 in 10,000. What reaches a code by another way (an approximate exponential, a reciprocal instead of a division)
# may move about that many, to the neighbour and no further.
ELEMENTS_PER_NEIGHBOUR = {"e4m3": 10_000, "bf16": 1_000}
LARGEST_FINITE = {"e4m3": 0x7E, "bf16": 0x7F7F}
LARGEST_SCALE_ULP = 16


@dataclass(frozen=True)
class Agreement:
    neighbouring_codes: int
    wrong_codes: int
    scale_ulp: int

    def objection(self, elements: int, format: str) -> str:
        """Why the result may not be timed, empty if it may."""
        allowed = 2 + elements // ELEMENTS_PER_NEIGHBOUR[format]
        if self.wrong_codes == 0 and self.neighbouring_codes <= allowed and self.scale_ulp <= LARGEST_SCALE_ULP:
            return ""
        return (
            f"results differ from ours: {self.wrong_codes} codes by more than a step, {self.neighbouring_codes} by one "
            f"({allowed} allowed), scales by up to {self.scale_ulp} ulp ({LARGEST_SCALE_ULP} allowed)"
        )


def compare(library: Any, format: str, theirs: tuple[Any, Any], ours: tuple[Any, Any]) -> Agreement:
    """Counts differences between (out, out_scale) in arrays of `library`, NumPy or torch; scales may be None."""
    code = library.int8 if format == "e4m3" else library.int16
    largest = LARGEST_FINITE[format]

    def places(codes: Any) -> Any:
        """Codes as numbers in the order of their values, zeros of both signs alike."""
        signed = codes.view(code)
        magnitude = signed & (0x7F if format == "e4m3" else 0x7FFF)
        return library.where(signed < 0, -magnitude, magnitude)

    (out, out_scale), (our_out, our_scale) = theirs, ours
    place = places(out)
    distance = place - places(our_out)  # wraps, but never to a distance of one
    near = ((distance == 1) | (distance == -1)) & (place <= largest) & (place >= -largest)
    neighbours = int(near.sum())
    wrong = int((distance != 0).sum()) - neighbours
    scale_ulp = 0
    if out_scale is not None:  # scales are not negative: the distance of their bits is that in ulp
        scale_ulp = int(abs(out_scale.view(library.int32) - our_scale.view(library.int32)).max())
    return Agreement(neighbours, wrong, scale_ulp)
