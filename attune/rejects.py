"""Why a sample that was brought is not used: one reason from a closed vocabulary, and a detail naming file, value and limit."""

from enum import StrEnum


class RejectReason(StrEnum):
    """The closed vocabulary of the rejects table."""

    MISSING = "missing"                        # a file that the listing names is not there
    OUTSIDE = "outside"                        # a listed path leads outside the source's folder
    UNREADABLE = "unreadable"                  # not an image of a known format, or damaged
    UNSUPPORTED = "unsupported"                # an image whose pixels have no agreed meaning as 8-bit colour (float, 32-bit, CIELAB)
    TOO_LARGE = "too_large"                    # more pixels than ingest.max_megapixels: a decompression bomb
    TOO_SMALL = "too_small"                    # a side under ingest.min_side
    SIZE_MISMATCH = "size_mismatch"            # images and mask of one sample differ in size
    EMPTY_MASK = "empty_mask"                  # no pixel of the mask is foreground
    FG_TOO_SMALL = "fg_too_small"              # the mask covers less than ingest.min_fg_ratio
    FG_TOO_LARGE = "fg_too_large"              # the mask covers more than ingest.max_fg_ratio
    BAD_NAME = "bad_name"                      # a name that does not follow the layout's rule, or is not UTF-8
    BAD_ANNOTATION = "bad_annotation"          # an annotation that breaks its format
    UNKNOWN_ID = "unknown_id"                  # an annotation of an image or a category that its file does not describe
    NO_MASK = "no_mask"                        # a photograph without any mask
    DUPLICATE = "duplicate"                    # listed twice under one key
    LEAK = "leak"                              # a duplicate stands on a stronger side of the split: test before val before train
    SYNTHESIS_FAILED = "synthesis_failed"      # every draw of a composite was unchanged, absurd or clipped


class BadSample(ValueError):
    """A sample that cannot be used: data, not a crash. `str()` names the file, the value and the limit."""

    def __init__(self, reason: RejectReason, path: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.reason = reason
        self.path = path
        self.detail = detail

    def __reduce__(self) -> tuple[type["BadSample"], tuple[RejectReason, str, str]]:
        return type(self), (self.reason, self.path, self.detail)
