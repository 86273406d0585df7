"""The shard format, writer and reader: WebDataset tars that are byte-equal for equal samples, and a manifest written last.

A shard is a plain ustar file. A sample is a run of members that share a key (the name up to its first dot):

    pair:       <key>.composite.jpg  <key>.target.jpg  <key>.mask.amk  <key>.json
    photograph: <key>.target.jpg  <key>.mask.amk  <key>.json      among pairs: nothing is changed yet, so the composite is the target
    composite:  <key>.composite.jpg  <key>.plate.jpg  <key>.natural.jpg  <key>.mask.amk  <key>.json

JPEGs are 4:4:4. `.amk` is an exact mask: `AMK1`, one byte (0: one bit per pixel, 1: one byte per pixel), height and width (little-endian
uint32), and the pixels, row by row, as a zlib stream; a hard mask costs a tenth of a PNG's time to decode. Stock webdataset reads it so:

    webdataset.WebDataset(urls, shardshuffle=False).decode(webdataset_mask_handler, "rgb8")

Every header field but name, size and checksum is constant (mtime 0), so a second write gives the same bytes.
"""

import hashlib
import json
import os
import re
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

import numpy as np
import simplejpeg
from jaxtyping import UInt8

from attune.files import read_json, write_json
from attune.images import encode_jpeg
from tasks.sample import Pair, RealComposite

Buffer = bytes | memoryview
Kind = Literal["pairs", "composites"]

FORMAT = "attune-shards/1"
MANIFEST = "manifest.json"
IMAGES: dict[str, tuple[str, ...]] = {"pairs": ("composite", "target"), "composites": ("composite", "plate", "natural")}
MASK_MEMBER = "mask.amk"
PHOTOGRAPH: Final = "photograph"  # the kind of pair that has no composite of its own
MAX_KEY = 80  # a ustar name holds 100 bytes: key, dot, and the longest member name

_MASK_HEADER = struct.Struct("<4sBII")
_MASK_MAGIC = b"AMK1"
_MAX_MASK_PIXELS = 1 << 28
_BLOCK = 512
_END = bytes(2 * _BLOCK)
_PARTS_AT_ONCE = 510  # per system call, which takes at most 1024: header, data and padding of 170 members


@dataclass(frozen=True)
class EncodedSample:
    """One sample as it lies in a shard: its members by name ("composite.jpg"), the key left off."""

    key: str
    members: Mapping[str, Buffer]


@dataclass(frozen=True)
class ShardInfo:
    """One shard in the manifest."""

    name: str
    split: str
    num_samples: int
    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a shard folder holds: `kind`, its shards in order, and how they came to be."""

    kind: Kind
    shards: tuple[ShardInfo, ...]
    meta: Mapping[str, Any]


def sanitize_key(text: str) -> str:
    """`text` as a shard key: [A-Za-z0-9_-] only (webdataset ends a key at its first dot), at most 80 characters.

    A text that had to change carries a hash of the original, so that different texts give different keys. Idempotent.
    """
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", text)
    if safe == text and 0 < len(text) <= MAX_KEY:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    return f"{safe[: MAX_KEY - 11]}-{digest}"


# Samples

def encode_mask(mask: UInt8[np.ndarray, "H W"]) -> bytes:
    """`mask` (0..255) in the exact, self-describing form at the top of this file: bits when it is hard (only 0 and 255), else bytes."""
    height, width = mask.shape
    foreground = mask == 255
    hard = bool((foreground | (mask == 0)).all())
    payload = np.packbits(foreground) if hard else np.ascontiguousarray(mask)
    return _MASK_HEADER.pack(_MASK_MAGIC, 0 if hard else 1, height, width) + zlib.compress(payload.tobytes(), 1)


def decode_mask_member(data: Buffer, *, name: str) -> UInt8[np.ndarray, "H W"]:
    """The mask that `encode_mask` encoded, values 0..255. Raises ValueError naming `name` if the bytes are damaged or foreign."""
    if len(data) < _MASK_HEADER.size:
        raise ValueError(f"{name}: {len(data)} bytes are no mask")
    magic, mode, height, width = _MASK_HEADER.unpack_from(data)
    if magic != _MASK_MAGIC or mode > 1 or not 0 < height * width <= _MAX_MASK_PIXELS:
        raise ValueError(f"{name}: not a mask of this format ({bytes(data[:13])!r})")
    expected = height * width if mode else (height * width + 7) // 8
    stream = zlib.decompressobj()
    try:
        payload = stream.decompress(data[_MASK_HEADER.size :], expected + 1)
    except zlib.error as error:
        raise ValueError(f"{name}: damaged mask ({error})") from error
    if len(payload) != expected or not stream.eof:
        raise ValueError(f"{name}: damaged mask, {len(payload)} bytes of pixels where {height}x{width} px need {expected}")
    pixels = np.frombuffer(payload, np.uint8)
    if mode:
        return pixels.reshape(height, width).copy()
    return np.unpackbits(pixels, count=height * width).reshape(height, width) * np.uint8(255)


def webdataset_mask_handler(key: str, data: bytes) -> UInt8[np.ndarray, "H W"] | None:
    """A handler for stock webdataset's `decode`: masks as uint8 (H, W); None for any other member."""
    return decode_mask_member(data, name=key) if key.endswith(".amk") else None


def encode_pair(pair: Pair, *, jpeg_quality: int, about: Mapping[str, Any] | None = None) -> EncodedSample:
    """`pair` as a sample; its JSON holds key, kind, source, group, and `about` (parent, seed, checkpoint hash: provenance)."""
    facts = {**(about or {}), "key": pair.key, "kind": pair.kind, "source": pair.source, "group": pair.group}
    fields = ("target",) if pair.kind == PHOTOGRAPH else IMAGES["pairs"]
    return EncodedSample(sanitize_key(pair.key), _encode_members(pair, fields, jpeg_quality, facts))


def decode_pair(sample: EncodedSample, *, name: str) -> Pair:
    """The pair in `sample`. Raises ValueError naming `name` and the member if one is missing or damaged, or sizes differ."""
    facts, mask, images = _decode_members(sample, image_members(sample, "pairs", name=name), name)
    try:
        text = {field: str(facts[field]) for field in ("key", "kind", "source", "group")}
    except KeyError as error:
        raise ValueError(f"{name}.json: no {error}") from error
    return Pair(**text, composite=images[0], mask=mask, target=images[-1])


def image_members(sample: EncodedSample, kind: Kind, *, name: str) -> tuple[str, ...]:
    """The pictures that a sample of a folder of `kind` must have: a photograph among pairs has its target alone."""
    alone = kind == "pairs" and "composite.jpg" not in sample.members and read_facts(sample, name=name).get("kind") == PHOTOGRAPH
    return ("target",) if alone else IMAGES[kind]


def encode_composite(composite: RealComposite, *, jpeg_quality: int, about: Mapping[str, Any] | None = None) -> EncodedSample:
    """`composite` as a sample; its JSON holds the key and `about`."""
    facts = {**(about or {}), "key": composite.key}
    return EncodedSample(sanitize_key(composite.key), _encode_members(composite, IMAGES["composites"], jpeg_quality, facts))


def decode_composite(sample: EncodedSample, *, name: str) -> RealComposite:
    """The real composite in `sample`; errors as `decode_pair`."""
    facts, mask, (composite, plate, natural) = _decode_members(sample, IMAGES["composites"], name)
    return RealComposite(key=str(facts.get("key", sample.key)), composite=composite, mask=mask, plate=plate, natural=natural)


def decode_jpeg(data: Buffer, *, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """An RGB JPEG of a shard, uint8. Raises ValueError naming `name` if it is damaged."""
    try:
        image: np.ndarray = simplejpeg.decode_jpeg(data, colorspace="RGB")
    except ValueError as error:
        raise ValueError(f"{name}: damaged JPEG ({error})") from error
    return image


def decode_jpeg_into(data: Buffer, out: UInt8[np.ndarray, "H W 3"], *, name: str) -> None:
    """Decode an RGB JPEG straight into `out` (C-contiguous), without copy or GIL; ValueError as `decode_jpeg`, or if sizes differ."""
    try:
        height, width = simplejpeg.decode_jpeg_header(data)[:2]
        if (height, width) != out.shape[:2]:
            raise ValueError(f"{height}x{width} px where the first sample has {out.shape[0]}x{out.shape[1]}")
        simplejpeg.decode_jpeg(data, colorspace="RGB", buffer=out)
    except ValueError as error:
        raise ValueError(f"{name}: cannot be decoded ({error})") from error


def _encode_members(
    sample: Pair | RealComposite, fields: Sequence[str], jpeg_quality: int, facts: Mapping[str, Any]
) -> dict[str, bytes]:
    shape = sample.mask.shape
    members: dict[str, bytes] = {}
    for field in fields:
        image: np.ndarray = getattr(sample, field)
        if image.shape != (*shape, 3):
            raise ValueError(f"{sample.key}: {field} is {image.shape} where the mask is {shape}")
        members[f"{field}.jpg"] = encode_jpeg(image, jpeg_quality)
    members[MASK_MEMBER] = encode_mask(sample.mask)
    members["json"] = json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
    return members


def _decode_members(sample: EncodedSample, fields: Sequence[str], name: str) -> tuple[dict[str, Any], np.ndarray, list[np.ndarray]]:
    facts = read_facts(sample, name=name)
    mask = decode_mask_member(member(sample, MASK_MEMBER, name=name), name=f"{name}.{MASK_MEMBER}")
    images = []
    for field in fields:
        image = decode_jpeg(member(sample, f"{field}.jpg", name=name), name=f"{name}.{field}.jpg")
        if image.shape[:2] != mask.shape:
            raise ValueError(f"{name}.{field}.jpg: {image.shape[0]}x{image.shape[1]} px where the mask is {mask.shape[0]}x{mask.shape[1]}")
        images.append(image)
    return facts, mask, images


def member(sample: EncodedSample, which: str, *, name: str) -> Buffer:
    """The bytes of one member; ValueError naming the sample if it has none of that name."""
    if which not in sample.members:
        raise ValueError(f"{name}: no member {which}, only {', '.join(sample.members)}")
    return sample.members[which]


def read_facts(sample: EncodedSample, *, name: str) -> dict[str, Any]:
    """The JSON member of a sample; ValueError naming it if it is missing or no object."""
    try:
        facts = json.loads(bytes(member(sample, "json", name=name)))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{name}.json: not JSON ({error})") from error
    if not isinstance(facts, dict):
        raise ValueError(f"{name}.json: not a JSON object")
    return facts


# Tar

def _template() -> bytes:
    header = bytearray(_BLOCK)
    header[100:108] = b"0000644\0"  # mode
    header[108:116] = header[116:124] = b"0000000\0"  # uid, gid
    header[136:148] = b"00000000000\0"  # mtime: a clock here would change the bytes at every write
    header[148:156] = b" " * 8  # the checksum counts itself as spaces
    header[156:157] = b"0"  # a regular file
    header[257:265] = b"ustar\x0000"
    return bytes(header)


_TEMPLATE = _template()
_TEMPLATE_SUM = sum(_TEMPLATE)


def _tar_header(name: bytes, size: int) -> bytes:
    digits = b"%011o" % size
    checksum = b"%06o\0 " % (_TEMPLATE_SUM + sum(name) + sum(digits))
    assert len(name) <= 100, name
    return b"".join((
        name, bytes(100 - len(name)), _TEMPLATE[100:124], digits, b"\0", _TEMPLATE[136:148], checksum, _TEMPLATE[156:],
    ))


def write_shard(path: Path, samples: Iterable[EncodedSample], *, split: str) -> ShardInfo:
    """Write `samples` in their order as one tar, whole or not at all; its entry for the manifest. Equal samples give equal bytes.

    Raises ValueError naming the key if one stands twice or is no key of `sanitize_key`.
    """
    digest = hashlib.sha256()
    num_samples, num_bytes = write_tar(path, samples, digest.update)
    return ShardInfo(path.name, split, num_samples, num_bytes, digest.hexdigest())


def write_tar(path: Path, samples: Iterable[EncodedSample], feed: Callable[[Buffer], None] | None = None) -> tuple[int, int]:
    """`write_shard` without an entry: the number of samples and of bytes.

    `feed`, a digest's `update`, is given every byte, by a thread of its own while the disk takes them: that costs as much as the
    writing, and neither holds the GIL.
    """
    seen: set[str] = set()
    num_bytes = 0
    with _unsynced(path) as temporary, open(temporary, "wb", buffering=0) as handle, ThreadPoolExecutor(1) as hashing:
        for parts in _batched(_tar_parts(samples, seen, path)):
            hashed = None if feed is None else hashing.submit(_feed_all, feed, parts)
            num_bytes += _write_all(handle.fileno(), parts)
            if hashed is not None:
                hashed.result()
    return len(seen), num_bytes


def _feed_all(feed: Callable[[Buffer], None], parts: Sequence[Buffer]) -> None:
    for part in parts:
        feed(part)


@contextmanager
def _unsynced(path: Path) -> Iterator[Path]:
    """As `written_atomically`, without waiting for the disk, which takes as long as all the rest.

    A shard that a power cut leaves short is found out: by its size when it is opened, by its hash before it is taken for finished.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _tar_parts(samples: Iterable[EncodedSample], seen: set[str], path: Path) -> Iterator[Buffer]:
    for sample in samples:
        if sample.key in seen:
            raise ValueError(f"{path}: key {sample.key!r} stands twice")
        if sanitize_key(sample.key) != sample.key:
            raise ValueError(f"{path}: {sample.key!r} is no shard key; pass it through sanitize_key")
        seen.add(sample.key)
        for which, data in sample.members.items():
            yield _tar_header(f"{sample.key}.{which}".encode(), len(data))
            yield data
            yield bytes(-len(data) % _BLOCK)
    yield _END


def _batched(parts: Iterable[Buffer]) -> Iterator[list[Buffer]]:
    pending: list[Buffer] = []
    for part in parts:
        pending.append(part)
        if len(pending) == _PARTS_AT_ONCE:
            yield pending
            pending = []
    yield pending


def _write_all(descriptor: int, parts: Sequence[Buffer]) -> int:
    size = sum(map(len, parts))
    written = os.writev(descriptor, parts) if parts else 0
    if written < size:  # a disk that fills up, or a signal, may cut a write short
        rest = memoryview(b"".join(parts))[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    return size


def shard_info(path: Path, *, split: str) -> ShardInfo:
    """The manifest entry of a shard on disk, read afresh. Raises ValueError naming the file if it is missing or damaged."""
    with ShardReader(path) as reader:
        num_samples = len(reader)
    with open(path, "rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return ShardInfo(path.name, split, num_samples, path.stat().st_size, digest)


class ShardReader:
    """Random access to the samples of one shard: headers are scanned once, each sample is then one `pread`. Safe to share by threads."""

    def __init__(self, path: Path) -> None:
        """Raises ValueError naming the file if it is missing, truncated, or not a tar of this format."""
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise ValueError(f"{path}: no such shard ({error.strerror})") from None
        try:
            self._samples = self._scan()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "ShardReader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def keys(self) -> list[str]:
        """The keys, in the shard's order."""
        return [key for key, _, _, _ in self._samples]

    def close(self) -> None:
        """Close the file; reading afterwards is an error. May be called twice."""
        descriptor, self._descriptor = getattr(self, "_descriptor", -1), -1
        if descriptor >= 0:
            os.close(descriptor)

    def name(self, index: int) -> str:
        """File and key of a sample, for messages."""
        return f"{self.path}:{self._samples[index][0]}"

    def read(self, index: int) -> EncodedSample:
        """Sample number `index`; its members are views of one buffer. Raises ValueError naming the file if it has shrunk since."""
        key, start, stop, members = self._samples[index]
        data = memoryview(os.pread(self._descriptor, stop - start, start))
        if len(data) != stop - start:
            raise ValueError(f"{self.path}: truncated while it was being read")
        return EncodedSample(key, {which: data[first : first + size] for which, first, size in members})

    def _scan(self) -> list[tuple[str, int, int, list[tuple[str, int, int]]]]:
        """(key, first byte, end, [(member, offset from the first byte, size)]) for each sample."""
        samples: list[tuple[str, int, int, list[tuple[str, int, int]]]] = []
        keys: set[str] = set()
        for name, offset, size in self._scan_headers():
            key, _, which = name.partition(".")
            if not samples or samples[-1][0] != key:
                if key in keys:
                    raise ValueError(f"{self.path}: the members of {key!r} do not stand together")
                keys.add(key)
                samples.append((key, offset, offset + size, [(which, 0, size)]))
            else:
                _, start, _, members = samples[-1]
                members.append((which, offset - start, size))
                samples[-1] = (key, start, offset + size, members)
        return samples

    def _scan_headers(self) -> Iterator[tuple[str, int, int]]:
        length, offset = os.fstat(self._descriptor).st_size, 0
        while True:
            header = os.pread(self._descriptor, _BLOCK, offset)
            if len(header) < _BLOCK:
                raise ValueError(f"{self.path}: truncated shard, no end of archive within {length} bytes")
            if header == _END[:_BLOCK]:
                if length != offset + len(_END):
                    raise ValueError(f"{self.path}: truncated shard, or with something after its end at byte {offset}")
                return
            if header[257:263] != b"ustar\0" or header[156:157] != b"0" or header[345] != 0:
                raise ValueError(f"{self.path}: not a shard of this format at byte {offset}")
            try:
                size, checksum = int(header[124:135], 8), int(header[148:154], 8)
                name = header[:100].rstrip(b"\0").decode("ascii")
            except ValueError:
                raise ValueError(f"{self.path}: damaged header at byte {offset}") from None
            if checksum != sum(header) - sum(header[148:156]) + 8 * 32:
                raise ValueError(f"{self.path}: damaged header at byte {offset} (checksum)")
            offset += _BLOCK
            if offset + size > length:
                raise ValueError(f"{self.path}: truncated shard, {name} ends beyond {length} bytes")
            yield name, offset, size
            offset += size + -size % _BLOCK


# Folders

def write_manifest(folder: Path, shards: Iterable[ShardInfo], *, kind: Kind, meta: Mapping[str, Any]) -> Manifest:
    """Write `folder`/manifest.json: the folder is complete once it is there, so write it last. Shards are listed by name."""
    ordered = tuple(sorted(shards, key=lambda shard: shard.name))
    write_json(folder / MANIFEST, {"format": FORMAT, "kind": kind, "shards": [asdict(shard) for shard in ordered], "meta": dict(meta)})
    return Manifest(kind, ordered, meta)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a shard folder. Raises ValueError naming the file if it is missing, damaged or of another format."""
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{path}: no such manifest; `dvc repro` makes the shards")
    value = read_json(path)
    if not isinstance(value, dict) or value.get("format") != FORMAT or value.get("kind") not in IMAGES:
        raise ValueError(f"{path}: not the manifest of a shard folder ({FORMAT})")
    try:
        shards = tuple(ShardInfo(**shard) for shard in value["shards"])
        if any(Path(shard.name).name != shard.name for shard in shards):
            raise ValueError("a shard lies outside the folder")
        return Manifest(value["kind"], shards, dict(value["meta"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: damaged manifest ({error})") from error


class ShardFolder:
    """Random access to all samples of one split of a shard folder, in the manifest's order. Safe to share by threads."""

    def __init__(self, folder: Path, split: str) -> None:
        """Raises ValueError naming the file if the manifest or a shard is missing, damaged, or they do not belong together."""
        self.manifest = read_manifest(folder)
        self.folder = folder
        self._readers: list[ShardReader] = []
        try:
            for shard in self.manifest.shards:
                if shard.split == split:
                    self._readers.append(self._open(shard))
        except BaseException:
            self.close()
            raise
        self._ends = list(accumulate(len(reader) for reader in self._readers))

    def __enter__(self) -> "ShardFolder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def keys(self) -> list[str]:
        """All keys, in order."""
        return [key for reader in self._readers for key in reader.keys]

    def close(self) -> None:
        """Close all shards. May be called twice."""
        for reader in self._readers:
            reader.close()

    def name(self, index: int) -> str:
        """File and key of a sample, for messages."""
        reader, local = self._locate(index)
        return reader.name(local)

    def read(self, index: int) -> EncodedSample:
        """Sample number `index` of the split."""
        reader, local = self._locate(index)
        return reader.read(local)

    def _locate(self, index: int) -> tuple[ShardReader, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.folder}: sample {index} of {len(self)}")
        which = bisect_right(self._ends, index)
        return self._readers[which], index - (self._ends[which - 1] if which else 0)

    def _open(self, shard: ShardInfo) -> ShardReader:
        path = self.folder / shard.name
        found = path.stat().st_size if path.is_file() else None
        if found != shard.num_bytes:
            raise ValueError(f"{path}: {'missing' if found is None else f'{found} bytes'} where {MANIFEST} says {shard.num_bytes} bytes")
        reader = ShardReader(path)
        if len(reader) != shard.num_samples:
            reader.close()
            raise ValueError(f"{path}: {len(reader)} samples where {MANIFEST} says {shard.num_samples}")
        return reader
