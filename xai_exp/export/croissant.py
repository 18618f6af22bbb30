"""Metadata of an exported dataset for machines, as Croissant 1.0 has it (mlcommons.org)."""

import json
from pathlib import Path
from typing import Any

from xai_exp.export.told import Counted, Told
from xai_exp.files import digest

_TERMS = (
    *("citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject"),
    *("fileSet", "format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField"),
    *("path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate"),
    *("separator", "source", "subField", "transform"),
)
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS},
}
_COLUMNS = {
    "split": ("sc:Text", "train, validation or test"),
    "number": ("sc:Integer", "the place in its split"),
    "file": ("sc:Text", "the picture's file"),
    "mask": ("sc:Text", "the file of its parts' coverage; empty without"),
    "label": ("sc:Integer", "the class as a number from 0"),
    "class": ("sc:Text", "the class by its name"),
}


def metadata(told: Told, counted: Counted, folder: Path) -> str:
    """The metadata as JSON-LD; index.csv is there already, and is summed."""
    height, width = counted.size
    words: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": told.name,
        "description": f"{len(counted.index)} pictures of {width}x{height} in "
        f"{len(counted.classes)} classes, made by xai_exp: {told.command}",
        "license": "https://spdx.org/licenses/Apache-2.0",
        "citeAs": "The xai_exp developers: xai_exp, which explanation of an image classifier to "
        "trust",
        "distribution": [_index(folder)],
        "recordSet": [_records()],
    }
    return json.dumps(words, indent=2, ensure_ascii=False) + "\n"


def _index(folder: Path) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": "index.csv",
        "name": "index.csv",
        "contentUrl": "index.csv",
        "encodingFormat": "text/csv",
        "sha256": digest(folder / "index.csv"),
    }


def _records() -> dict[str, Any]:
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"pictures/{name}",
            "name": name,
            "description": told,
            "dataType": kind,
            "source": {"fileObject": {"@id": "index.csv"}, "extract": {"column": name}},
        }
        for name, (kind, told) in _COLUMNS.items()
    ]
    return {"@type": "cr:RecordSet", "@id": "pictures", "name": "pictures", "field": fields}
