"""Who is foreground: where a soft mask is cut into inside and outside, one value in two scales.

A mask of 8 bits has no level at one half, so `level >= FOREGROUND_LEVEL` and `share >= FOREGROUND` say the same of the same file. A mask
that was resampled in floats may hold exactly one half: it is foreground where errors are measured. (Where tones are read inside a network,
and where mining trusts an object's own colours, it is not: released weights and composites were made so.)

The only file of this package that models/ may import.
"""

import math

FOREGROUND = 0.5  # of a mask in [0, 1]: from here on a pixel is foreground
FOREGROUND_LEVEL = math.ceil(FOREGROUND * 255)  # the same of a mask of 8 bits, 0..255
