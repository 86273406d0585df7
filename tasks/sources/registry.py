"""Every source by name: one file beside this one, and its entry here, adds one. Params, ingestion, inbox and docs follow from it."""

from tasks.sources.coco import DATA as COCO
from tasks.sources.composites import DATA as COMPOSITES
from tasks.sources.iharmony4 import DATA as IHARMONY4
from tasks.sources.photos import DATA as PHOTOS
from tasks.sources.realhm import DATA as REALHM
from tasks.sources.realism_labels import DATA as REALISM_LABELS
from tasks.sources.retouch import DATA as RETOUCH
from tasks.sources.source import Source
from tasks.sources.starter import DATA as STARTER

SOURCES: dict[str, Source] = {
    "starter": STARTER,
    "photos": PHOTOS,
    "coco": COCO,
    "iharmony4": IHARMONY4,
    "realhm": REALHM,
    "retouch": RETOUCH,
    "composites": COMPOSITES,
    "realism_labels": REALISM_LABELS,
}
