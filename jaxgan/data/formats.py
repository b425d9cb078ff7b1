"""Which files are pictures, by the suffixes of their names: those that Pillow decodes, and those to be converted."""

import collections
import functools
import os
from collections.abc import Sequence

from PIL import Image, features

USUAL = "JPEG, PNG, GIF, WebP, AVIF, TIFF, BMP and others"
# Pillow opens these as well, and they are no pixels: drawings, documents, videos, measurements.
OTHERS = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
OPTIONAL = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}  # which a build of Pillow may lack

RAW = (".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mos", ".mrw", ".nef", ".nrw", ".orf")
RAW += (".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f")
KINDS = {
    "HEIC": (".heic", ".heics", ".heif", ".heifs", ".hif"),
    "camera raw": RAW,
    "SVG": (".svg", ".svgz"),
    "JPEG XL": (".jxl",),
    "JPEG XR": (".hdp", ".jxr", ".wdp"),
    "OpenEXR": (".exr",),
    "Radiance HDR": (".hdr",),
    "DICOM": (".dcm", ".dicom"),
    "FITS": (".fit", ".fits"),
    "EPS": (".eps",),
    "WMF": (".emf", ".wmf"),
    "GIMP": (".xcf",),
    "Krita": (".kra",),
    "Photoshop PSB": (".psb",),
    "AVIF": (".avif", ".avifs"),
    "JPEG 2000": (".j2c", ".j2k", ".jp2", ".jpc", ".jpf", ".jpx"),
    "WebP": (".webp",),
}
KIND_OF = {suffix: kind for kind, suffixes in KINDS.items() for suffix in suffixes}


@functools.cache
def names() -> frozenset[str]:
    """Pillow's names of the formats that this build of it decodes; of a moving picture the first frame counts."""
    Image.init()  # which loads all of its formats
    return frozenset(Image.OPEN) - OTHERS - {kind for kind, feature in OPTIONAL.items() if not features.check(feature)}


@functools.cache
def suffixes() -> frozenset[str]:
    """The suffixes of these formats."""
    readable = names() | {"MPO"}  # an MPO file is a JPEG file with more pictures behind it
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in readable)


def is_picture(path: str) -> bool:
    """Whether a file is a picture that can be decoded, by its name."""
    return suffix_of(path) in suffixes()


def is_foreign(path: str) -> bool:
    """Whether a file is a picture that has to be converted first, by its name."""
    return suffix_of(path) in KIND_OF and not is_picture(path)


def suffix_of(path: str) -> str:
    """The suffix of a file's name in lower case."""
    return os.path.splitext(path)[1].lower()


def conversion(root: object, paths: Sequence[str]) -> str:
    """What lies below `root` and cannot be decoded, and what to do about it."""
    kinds = collections.Counter(KIND_OF[suffix_of(path)] for path in paths)
    count = ", ".join(f"{number} {kind} file{'s' * (number > 1)}" for kind, number in kinds.most_common())
    command = f"magick mogrify -format png '*{os.path.splitext(paths[0])[1]}'"
    return f"{count}, such as {os.path.join(root, paths[0])}: convert to PNG or JPEG, for example by {command}"
