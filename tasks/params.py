"""The schema of params.yaml, in its order: no defaults here, so that params.yaml is the only home of a value."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

if TYPE_CHECKING:
    from models.harmonizer import HarmonizerConfig

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Quality = Annotated[int, Field(ge=50, le=100)]
Side = Annotated[int, Field(ge=16, le=4096)]
Domain = Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")]  # it names a stage and a folder
Folders = Annotated[  # one may stand without a list
    tuple[Path, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str | Path) else value), Field(min_length=1)
]


@dataclass(frozen=True)
class OneOf:
    """A check that a name is one of those of a registry, looked up when it is asked for."""

    names: Callable[[], list[str]]

    def __call__(self, value: str) -> str:
        """The name itself. Raises ValueError with the names that there are."""
        if value not in self.names():
            raise ValueError(f"{value!r} is not known; there are {', '.join(self.names())}")
        return value


def source_names(*, with_folder: bool = False) -> list[str]:
    """The sources of `tasks.sources.registry`; those that lie in a folder of their own alone, if `with_folder`."""
    from tasks.sources.registry import SOURCES  # not above: sources are listed by params

    return [name for name, source in SOURCES.items() if source.layout or not with_folder]


SourceName = Annotated[str, AfterValidator(OneOf(source_names))]
FolderName = Annotated[str, AfterValidator(OneOf(lambda: source_names(with_folder=True)))]
MeasuredName = Annotated[str, AfterValidator(OneOf(lambda: [*source_names(), LOOKS]))]
LOOKS = "looks"  # a benchmark that is made of the index's test photographs


class Section(BaseModel):
    """One section of params.yaml: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Speed(Section):
    """Workers, memory, and how often progress is saved or shown: how fast a stage is, never what comes out.

    (The threads of a training are none of them: sums of floats depend on their number.)
    """

    executor: Literal["threads", "dask"]
    num_workers: Count
    report_every: Count
    checkpoint_every: Count
    cache_megabytes: Natural


class Paths(Section):
    raw: Path
    code: Path
    starter: Path
    index: Path
    prepared: Path
    composites: Path
    data_report: Path
    mined: Path
    syconet: Path
    domains: Path
    shards: Path
    harmonizer: Path
    metrics: Path
    measures: Path
    report: Path
    work: Path


class Starter(Section):
    num_scenes: Natural
    scene_size: Side
    max_side: Side
    num_retouches: Natural


class Weights(Section):
    reinhard: NonNegative
    xiao_ma: NonNegative
    fecker: NonNegative
    pitie: NonNegative
    illuminant: NonNegative
    retouch: NonNegative


class Synthesis(Section):
    composites_per_object: Natural
    composites_per_test_object: Natural
    max_test_pairs: Natural
    max_side: Side
    jpeg_quality: Quality
    weights: Weights
    retouch_strength: NonNegative
    max_clipped: Share
    max_gradient_ratio: Annotated[float, Field(ge=1.0)]
    min_delta_e: NonNegative
    max_delta_e: Positive
    max_hue_turned: Share
    min_fmse: NonNegative
    max_fmse: Positive
    max_attempts: Count


class Ingest(Section):
    sources: list[SourceName]
    folders: dict[FolderName, Folders]
    max_reject_fraction: Share
    max_megapixels: Positive
    min_side: Count
    min_fg_ratio: Share
    max_fg_ratio: Share
    max_hash_distance: Annotated[int, Field(ge=0, le=16)]
    val_share: Share
    test_share: Share
    starter: Starter
    synthesis: Synthesis

    @field_validator("folders")
    @classmethod
    def _some_may_have_several(cls, folders: dict[str, Folders]) -> dict[str, Folders]:
        from tasks.sources.registry import SOURCES

        free = [name for name, source in SOURCES.items() if source.has_several_folders]
        if several := [name for name, each in folders.items() if len(set(each)) < len(each) or (len(each) > 1 and name not in free)]:
            raise ValueError(f"{', '.join(several)}: only {', '.join(free)} may have several folders, and each but once")
        return folders


class Quotas(Section):
    easy: Share
    medium: Share
    hard: Share

    @model_validator(mode="after")
    def _sum_to_one(self) -> "Quotas":
        total = self.easy + self.medium + self.hard
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"easy + medium + hard must be 1, not {total:g}")
        return self


class FitWeights(Section):
    semantic: NonNegative
    scale: NonNegative
    position: NonNegative
    aspect: NonNegative
    shape: NonNegative


class Mine(Section):
    num_composites: Count
    size: Side
    mode: Literal["mined", "pih_random"]
    plate: Literal["telea", "navier_stokes", "precomputed", "none"]
    plate_folder: Path
    max_side: Side
    labels: list[str]
    excluded_labels: list[str]
    unnamed_labels: list[str]
    min_fg_ratio: Share
    max_fg_ratio: Share
    min_box_side: Count
    max_box_fill: Share
    max_components: Count
    min_largest_component: Share
    max_holes: Share
    max_border_contact: Share
    max_occlusion: Share
    min_sharpness: NonNegative
    max_clipped: Share
    min_spread: NonNegative
    min_chroma: NonNegative
    plate_margin: Natural
    min_plate_score: Share
    ring_width: Annotated[int, Field(ge=2)]
    max_upsampling: Positive
    max_lightness_gap: Positive
    max_colour_gap: Positive
    weights: FitWeights
    min_semantic: Share
    min_fit: Share
    neighbours: Count
    temperature: Positive
    max_per_foreground: Count
    max_per_background: Count
    quotas: Quotas
    rescale: Annotated[float, Field(ge=0.0, le=0.5)]
    choke: NonNegative
    feather_sigma: NonNegative
    jitter: Natural
    jpeg_quality: Quality
    shard_size: Count


class Syconet(Section):
    size: Side
    latent_dim: Count
    num_luts: Count
    lut_dim: Annotated[int, Field(ge=2, le=64)]
    width: Count
    steps: Natural
    batch_size: Count
    lr: Positive
    basis_lr: Positive
    kl_weight: NonNegative
    kl_warmup: Share
    smooth_weight: NonNegative
    mono_weight: NonNegative
    threads: Count


class FinetuneSyconet(Section):
    domains: list[Domain]
    steps: Count


class Augment(Section):
    photographs: bool
    copies: Natural
    draws: Count
    harmonizer: Path | None
    size: Side
    jpeg_quality: Quality
    shard_size: Count

    @model_validator(mode="after")
    def _hard_cases_can_be_chosen(self) -> "Augment":
        if (self.draws > 1) != (self.harmonizer is not None):
            raise ValueError(f"draws is {self.draws} with harmonizer {self.harmonizer}: over 1 needs a harmonizer, 1 needs none")
        if 1 < self.draws < self.copies:
            raise ValueError(f"draws ({self.draws}) must not be fewer than copies ({self.copies})")
        return self


class StreamWeights(Section):
    original: NonNegative
    retouched: NonNegative
    augmented: NonNegative
    photograph: NonNegative


class TrainModel(Section):
    architecture: str
    size: Side
    options: dict[str, Any]

    @field_validator("options")
    @classmethod
    def _options_are_those_of_their_architectures(cls, options: dict[str, Any]) -> dict[str, Any]:
        return options_schema().model_validate(options).model_dump(exclude_none=True)

    @model_validator(mode="after")
    def _architecture_can_be_built(self) -> "TrainModel":
        if self.architecture not in self.options:
            raise ValueError(f"architecture is {self.architecture!r}; options are there for {', '.join(sorted(self.options))}")
        self.config()
        return self

    def config(self) -> "HarmonizerConfig":
        """The shape of the harmonizer that is asked for."""
        from models.architectures import harmonizer_config  # not above: what reads no params has no need of torch

        return harmonizer_config(self.architecture, size=self.size, plate=False, **self.options[self.architecture])


def options_schema() -> type[BaseModel]:
    """The schema of `train.model.options`: of each architecture the fields that it adds, all needed."""
    from models.architectures import ARCHITECTURES
    from models.harmonizer import HarmonizerConfig

    shared = {field.name for field in fields(HarmonizerConfig)}
    sections: dict[str, Any] = {}
    for name, kind in ARCHITECTURES.items():
        types = get_type_hints(kind)
        own: dict[str, Any] = {field.name: (types[field.name], ...) for field in fields(kind) if field.name not in shared}
        sections[name] = (create_model(name, __base__=Section, **own), None)
    return create_model("options", __base__=Section, **sections)


class DrawnWeights(Section):
    reinhard: NonNegative
    monge_kantorovich: NonNegative
    xiao_ma: NonNegative
    fecker: NonNegative
    retouch: NonNegative
    illuminant: NonNegative


class DrawnComposites(Section):
    share: Share
    weights: DrawnWeights
    kin_share: Share
    rescaled_share: Share

    @model_validator(mode="after")
    def _something_can_be_drawn(self) -> "DrawnComposites":
        if self.share and not any(weight for _, weight in self.weights):
            raise ValueError(f"share is {self.share:g}, but no weight is above 0")
        return self


class TrainData(Section):
    batch_size: Count
    stream_weights: StreamWeights
    augmentation: Literal["none", "static", "dynamic"]
    jitter: Share
    region_share: Share
    natural_share: Share
    drawn: DrawnComposites
    soft_share: Share
    whole_jitter: NonNegative
    whole_share: Share
    degraded_share: Share
    smallest_crop: Annotated[float, Field(gt=0.1, le=1.0)]

    @model_validator(mode="after")
    def _copies_are_read_where_they_have_a_weight(self) -> "TrainData":
        if self.stream_weights.augmented and self.augmentation != "static":
            weight = self.stream_weights.augmented
            raise ValueError(f"stream_weights.augmented is {weight:g} with augmentation {self.augmentation}: only static reads copies")
        return self


class LossWeights(Section):
    whole_l1: NonNegative
    foreground_l1: NonNegative
    foreground_mse: NonNegative
    foreground_rmse: NonNegative
    tone_ends: NonNegative

    @model_validator(mode="after")
    def _something_is_wanted(self) -> "LossWeights":
        if not any(weight for _, weight in self):
            raise ValueError("no loss has a weight above 0")
        return self


class TrainOptimizer(Section):
    losses: LossWeights
    render_every: Annotated[int, Field(ge=1, le=2)]
    steps: Count
    lr: Positive
    lr_floor: Share
    warmup_steps: Natural
    weight_decay: NonNegative
    grad_clip: Positive
    ema_decay: Share
    precision: Literal["float32", "bfloat16"]


class TrainAdversary(Section):
    share: Share
    supervised_warmup_steps: Natural
    alternation: Literal["bernoulli", "strict"]
    discriminate_pairs: bool
    reconstruction_weight: Share
    balanced: bool
    width: Count
    lr: Positive


class Train(Section):
    start_from: str
    model: TrainModel
    data: TrainData
    optimizer: TrainOptimizer
    adversary: TrainAdversary
    val_every: Count
    max_val_pairs: Count
    patience: Natural
    keep: Literal["best", "last"]
    calibrate_strength: bool
    sheet_every: Natural
    num_processes: Count
    threads: Count

    @model_validator(mode="after")
    def _strength_is_in_the_weights(self) -> "Train":
        if self.calibrate_strength and (fault := self.model.config().strength_fault):
            raise ValueError(f"calibrate_strength is on, but {fault}")
        return self

    @model_validator(mode="after")
    def _batch_is_shared_evenly(self) -> "Train":
        if self.data.batch_size % self.num_processes:
            raise ValueError(f"data.batch_size {self.data.batch_size} cannot be shared evenly by num_processes {self.num_processes}")
        return self


class Phase(Section):
    size: Side
    trainings: Count
    steps: Count
    batch_size: Count
    lr: Positive
    ema_decay: Share
    natural_share: Share
    degraded_share: Share
    foreground_rmse: NonNegative
    tone_ends: NonNegative


class ShippedWeights(Section):
    folder: Path
    start_from: str
    phases: Annotated[list[Phase], Field(min_length=1)]


class Benchmark(Section):
    source: MeasuredName
    subset: str
    size: Annotated[int, Field(ge=16, le=4096)] | Literal["native"]
    resize: Literal["none", "pillow_bilinear", "pillow_bicubic", "opencv_linear", "opencv_area", "lanczos_jpeg"]

    @model_validator(mode="after")
    def _resize_belongs_to_size(self) -> "Benchmark":
        if (self.size == "native") != (self.resize == "none"):
            raise ValueError(f"size {self.size} with resize {self.resize}: native goes with none, and any other size with a filter")
        return self


class Looks(Section):
    num_photographs: Count
    per_photograph: Annotated[int, Field(ge=1, le=36)]


class Evaluate(Section):
    benchmarks: dict[str, Benchmark]
    competitors: dict[str, Path]
    champion: Path | None
    looks: Looks
    eye_composites: Count
    naturalness_images: Count
    sheet_rows: Count
    batch_size: Count


class Poll(Section):
    folder: Path
    methods: Annotated[list[str], Field(min_length=2)]
    num_images: Count
    max_side: Side
    votes_per_rater: Count
    ridge: Positive
    num_resamples: Annotated[int, Field(ge=100)]


class Release(Section):
    inbox: Path
    webhook: Annotated[str, Field(pattern=r"^(https?://.*)?$")]
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)]
    resamples: Annotated[int, Field(ge=100)]
    max_fmse_growth: NonNegative
    max_group_growth: NonNegative
    min_group_images: Count
    min_do_no_harm: Share
    max_natural_fmse: Positive
    max_latency_ms: Positive
    max_megabytes: Positive


class Params(Section):
    """All of params.yaml."""

    seed: int
    speed: Speed
    paths: Paths
    ingest: Ingest
    mine: Mine
    syconet: Syconet
    finetune_syconet: FinetuneSyconet
    augment: Augment
    train: Train
    weights: ShippedWeights
    evaluate: Evaluate
    poll: Poll
    release: Release

    @model_validator(mode="after")
    def _sizes_agree(self) -> "Params":
        size, augmented, mined = self.train.model.size, self.augment.size, self.mine.size
        if not size <= min(augmented, mined):
            raise ValueError(f"train.model.size ({size}) must not be larger than augment.size ({augmented}) or mine.size ({mined})")
        return self


def load_params(path: Path = Path("params.yaml")) -> Params:
    """The validated params of `path`.

    Raises ValueError, one line per fault with key, value and limit, if a key is unknown, missing or out of range.
    """
    try:
        values: Any = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; run from the project's root") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML ({error})") from error
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        faults = [_describe(fault) for fault in error.errors()]
        raise ValueError(f"{path}: " + "; ".join(faults)) from None


def key_params(params: Params, *keys: str, but: Collection[str] = ()) -> dict[str, Any]:
    """The params that a unit of work is kept under (`attune.unit_keys`): what stands below `keys` ("seed", "train", "ingest.val_share"),
    each value under its whole key, without those that are named by `but`. Nothing is kept under `speed`: ValueError.
    """
    if hasty := [key for key in keys if _is_below(key, {"speed"})]:
        raise ValueError(f"{', '.join(hasty)}: changes speed alone, so nothing is kept under it")
    values = _flat("", params.model_dump(mode="json"))
    return {key: value for key, value in values if _is_below(key, keys) and not _is_below(key, but)}


def _flat(prefix: str, values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", value


def _is_below(key: str, sections: Collection[str]) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)


def _describe(fault: Any) -> str:
    key = ".".join(map(str, fault["loc"])) or "(whole file)"
    # a rule over several keys, or a key that is missing, is told with the whole section as its input
    shown = "" if fault["type"] in ("missing", "extra_forbidden") or isinstance(fault["input"], dict) else f" (got {fault['input']!r})"
    return f"{key}: {fault['msg'].removeprefix('Value error, ')}{shown}"
