"""Benchmarks measured: every method's answer to every test image, decoding, inference and metrics at the same time.

Answers are rounded to 8 bit and scored before any JPEG. Methods see the soft mask; who is foreground is said by mask >= 0.5, except in the
`issam` flavour (tasks/evaluation/metrics.py).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tasks.evaluation.haze import tone_changes
from tasks.evaluation.measurements import TARGET, Appearance, Changed, Scored
from tasks.evaluation.methods import Methods, Picture, check_answers
from tasks.evaluation.metrics import Flavour, change_inside, cie76_inside, score_flavours
from tasks.evaluation.protocols import Example, has_targets, read_example, test_rows
from tasks.params import Params

NUM_THREADS = 2  # decoding and scoring; inference has torch's own

Advance = Callable[[int, int], None]  # called with (images done, images in all)
Rows = Sequence[Mapping[str, Any]]
View = Callable[[Example, Mapping[str, Picture]], Scored | Changed]


@dataclass(frozen=True)
class Measured:
    """What a run found, by benchmark. Images whose mask is empty at that size are counted in `num_images` alone."""

    scored: Mapping[str, Sequence[Scored]]  # of benchmarks with targets
    changed: Mapping[str, Sequence[Changed]]  # of those without
    num_images: Mapping[str, int]


def measure(
    params: Params, methods: Methods, flavours: Sequence[Flavour], advance: Advance, *, with_appearance: bool = False
) -> Measured:
    """Measure `methods` on every benchmark of `params.evaluate`.

    with_appearance: tones and CIE76 too, two thirds more work per answer; without it every `appearance` is empty.
    Raises ValueError naming the key if there are no benchmarks, one has no test images or nothing but empty masks, or a competitor lacks
    some of its answers; BadSample (a ValueError) names a file that cannot be read.
    """
    if not params.evaluate.benchmarks:
        raise ValueError("evaluate.benchmarks is empty: name at least one")
    rows = {name: test_rows(params, name) for name in params.evaluate.benchmarks}
    taking_part = {name: check_answers(methods, wanted, name) for name, wanted in rows.items()}
    total, done = sum(map(len, rows.values())), 0
    scored: dict[str, list[Scored]] = {}
    changed: dict[str, list[Changed]] = {}
    for name, wanted in rows.items():
        found: list[Scored | Changed] = []
        look = _scoring(flavours, with_appearance) if has_targets(wanted) else _changing(with_appearance)
        for result in _over_all(taking_part[name], wanted, params, name, look):
            found += [] if result is None else [result]
            done += 1
            advance(done, total)
        if not found:
            raise ValueError(f"evaluate.benchmarks.{name}: every mask is empty at size {params.evaluate.benchmarks[name].size}")
        if has_targets(wanted):
            scored[name] = [one for one in found if isinstance(one, Scored)]
        else:
            changed[name] = [one for one in found if isinstance(one, Changed)]
    return Measured(scored, changed, {name: len(wanted) for name, wanted in rows.items()})


def _scoring(flavours: Sequence[Flavour], with_appearance: bool) -> View:
    def score(example: Example, answers: Mapping[str, Picture]) -> Scored:
        target = example.target
        assert target is not None
        scores = {who: score_flavours(answer, target, example.mask, flavours=flavours) for who, answer in answers.items()}
        height, width = example.mask.shape
        appearance = _appearance(example, {**answers, TARGET: target}) if with_appearance else {}
        return Scored(example.row, scores, width=width, height=height, num_foreground=example.num_foreground, appearance=appearance)

    return score


def _changing(with_appearance: bool) -> View:
    def change(example: Example, answers: Mapping[str, Picture]) -> Changed:
        height, width = example.mask.shape
        changes = {who: change_inside(example.composite, answer, example.mask) for who, answer in answers.items()}
        appearance = _appearance(example, answers) if with_appearance else {}
        return Changed(example.row, changes, width=width, height=height, num_foreground=example.num_foreground, appearance=appearance)

    return change


def _appearance(example: Example, answers: Mapping[str, Picture]) -> dict[str, Appearance]:
    tones = tone_changes(example.composite, answers, example.mask)
    return {who: Appearance(cie76_inside(example.composite, answer, example.mask), tones.get(who)) for who, answer in answers.items()}


def _over_all(
    methods: Methods, rows: Rows, params: Params, name: str, look: View
) -> Iterator[Scored | Changed | None]:
    """`look` at every row's example and answers, in order; None for one whose mask is empty at this size.

    While the networks work on a batch, threads decode the next one and look at the one before.
    """
    benchmark, limit = params.evaluate.benchmarks[name], params.ingest.max_megapixels
    each = NUM_THREADS if benchmark.size == "native" else params.evaluate.batch_size  # three batches are in memory at a time
    batches = [rows[first : first + each] for first in range(0, len(rows), each)]

    def finish(example: Example, answers: Mapping[str, Picture]) -> Scored | Changed | None:
        if not example.num_foreground:
            return None
        return look(example, {**methods.compute(example, benchmark, limit), **answers})

    with ThreadPoolExecutor(NUM_THREADS) as pool:

        def decode(batch: Rows) -> list[Future[Example]]:
            return [pool.submit(read_example, row, benchmark, max_megapixels=limit) for row in batch]

        coming, finishing = decode(batches[0]), list[Future[Scored | Changed | None]]()
        for following in [*batches[1:], []]:
            examples = [future.result() for future in coming]
            coming = decode(following)
            answers = methods.predict(examples, native=benchmark.size == "native")
            yield from (future.result() for future in finishing)
            finishing = [pool.submit(finish, *each) for each in zip(examples, answers, strict=True)]
        yield from (future.result() for future in finishing)
