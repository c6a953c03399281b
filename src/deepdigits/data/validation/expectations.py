"""The Great Expectations suites that the data must pass before training."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.core import ExpectationSuiteValidationResult, expectationSuiteValidationResultSchema
from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView

from deepdigits.data.described import Band, Bands
from deepdigits.data.digits.splits import SPLITS

FRAMES = ("images", "splits", "classes")
# A minimal substitute for Bootstrap's style sheet, so that the page is readable offline.
PAGE_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1100px;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}td,th{border:1px solid #ddd;
padding:.4rem .6rem;text-align:left;vertical-align:top}.navbar,.btn,.modal,.popover,footer,.navigation-rail,
.col-lg-2,.col-md-2,.col-2{display:none}
.text-success::before{content:"pass ";color:#18794e}.text-danger::before{content:"FAIL ";color:#b42318;font-weight:700}
ul{padding-left:1.2rem}.badge{background:#eee;border-radius:3px;padding:0 .3rem}
"""
IMAGE_COLUMNS = (
    *("image", "split", "index", "label", "mean", "std", "ink", "low", "high"),
    *("top", "bottom", "left", "right", "center_row", "center_column", "sha256"),
)
ROW_NAMES = {"images": ["image"], "splits": ["split"], "classes": ["split", "label"], "groups": ["group"]}


@dataclass(frozen=True)
class Outcome:
    """The result of one expectation. `rows` identifies the first rows that violate it, by the frame's own columns."""

    frame: str
    name: str
    success: bool
    observed: str
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Verdict:
    """All outcomes, and one Data Docs page (HTML) per frame."""

    outcomes: list[Outcome]
    pages: dict[str, str]

    @property
    def success(self) -> bool:
        return not self.failed

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if not outcome.success]


def expectations(bands: Bands, max_off_center_fraction: float, classes: Sequence[str]) -> dict[str, list[Any]]:
    """The suite for each frame in `deepdigits.data.validation.frame`. Failures are reported by description."""
    centered, count = 1 - max_off_center_fraction, len(classes)
    digits = list(classes) == list("0123456789")
    one, several = ("digit", "digits") if digits else ("class", "images")
    all_of = "the ten digits" if digits else f"the {count} classes"
    alike = "digits" if digits else "classes"
    return {
        "images": [
            gxe.ExpectTableColumnsToMatchSet(
                column_set=list(IMAGE_COLUMNS),
                description="the frame has exactly the expected columns",
            ),
            gxe.ExpectColumnValuesToBeInSet(
                column="split", value_set=list(SPLITS), description="every image is in train, validation or test"
            ),
            gxe.ExpectColumnValuesToBeInSet(
                column="label",
                value_set=list(range(count)),
                description="every label is a digit, 0 to 9" if digits else f"every label is one of {all_of}",
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="low",
                min_value=0,
                max_value=bands.darkest,
                description=f"every image has background (a pixel of {_at_most(bands.darkest)})",
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="high",
                min_value=bands.brightest,
                max_value=255,
                description=f"every image has full ink (a pixel of {bands.brightest} or more)",
            ),
            _within("mean", bands.image_mean, "no image is blank or saturated (mean pixel)"),
            gxe.ExpectColumnValuesToBeBetween(
                column="std",
                min_value=bands.contrast,
                description=f"every image has contrast (pixel deviation of {bands.contrast:g} or more)",
            ),
            _within("center_row", bands.center, f"{several} are centred vertically (centre of mass)", mostly=centered),
            _within(
                "center_column", bands.center, f"{several} are centred horizontally (centre of mass)", mostly=centered
            ),
            gxe.ExpectColumnValuesToBeUnique(
                column="sha256", description="no image appears twice, within or across splits"
            ),
        ],
        "splits": [
            gxe.ExpectColumnPairValuesToBeEqual(
                column_A="count", column_B="expected_count", description="every split has its expected number of images"
            ),
            _within("mean", bands.pixel_mean, "the mean pixel of each split is in its band"),
            _within("std", bands.pixel_std, "the pixel deviation of each split is in its band"),
            _within("ink", bands.ink_fraction, "the share of ink in each split is in its band"),
            gxe.ExpectColumnValuesToBeBetween(
                column="disagreement",
                max_value=bands.max_label_disagreement,
                description="labels fit their images (share whose nearest image in train has a different label)",
            ),
        ],
        "classes": [
            gxe.ExpectTableRowCountToEqual(value=3 * count, description=f"every split has a row for each of {all_of}"),
            gxe.ExpectColumnValuesToBeBetween(
                column="count", min_value=1, description=f"every {one} is in every split"
            ),
            _within("share", bands.class_share, f"classes are balanced (share of each {one} in its split)"),
            gxe.ExpectColumnValuesToBeBetween(
                column="shift",
                max_value=bands.max_class_shift,
                description=f"each {one} looks the same in all splits (mean image against train's)",
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="separation",
                min_value=bands.min_class_separation,
                description=f"{alike} look different from one another (mean images within a split)",
            ),
        ],
    }


def _at_most(value: int) -> str:
    return f"{value} or less" if value else "0"


def group_expectations() -> list[Any]:
    """The suite for the frame of groups, which only some data have."""
    return [
        gxe.ExpectColumnValuesToBeBetween(
            column="splits", max_value=1, description="no group, such as a speaker or a patient, is in two splits"
        )
    ]


def check(
    frames: Mapping[str, pd.DataFrame],
    suites: Mapping[str, list[Any]],
    row_names: Mapping[str, list[str]],
    example_count: int,
) -> Verdict:
    """Validate each frame against its suite; `row_names` are the columns that identify a row to a reader.

    An expectation that cannot be evaluated, for example because its column is missing, counts as failed.
    """
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    outcomes: list[Outcome] = []
    pages: dict[str, str] = {}
    for name, frame in frames.items():
        asset = context.data_sources.pandas_default.add_dataframe_asset(name)
        batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
        result = batch.validate(
            gx.ExpectationSuite(name, expectations=suites[name]),
            result_format={
                "result_format": "COMPLETE",
                "unexpected_index_column_names": row_names[name],
                "partial_unexpected_count": example_count,
            },
        )
        outcomes += [_outcome(name, item, row_names[name], example_count) for item in result.to_json_dict()["results"]]
        pages[name] = _page(name, result)
    return Verdict(outcomes, pages)


def _within(column: str, band: Band, description: str, mostly: float = 1.0) -> Any:
    return gxe.ExpectColumnValuesToBeBetween(
        column=column, min_value=band.low, max_value=band.high, mostly=mostly, description=description
    )


def _outcome(frame: str, item: Any, row_names: list[str], example_count: int) -> Outcome:
    config, found = item["expectation_config"], item["result"]
    errors = [info["exception_message"] for info in _exceptions(item["exception_info"])]
    if errors:
        observed = f"could not be evaluated: {errors[0]}"
    elif "unexpected_count" in found:
        observed = f"{found['unexpected_count']} of {found.get('element_count', 'all')} rows violate it"
        if found.get("partial_unexpected_list"):
            observed += f", e.g. {found['partial_unexpected_list'][0]}"
    else:
        observed = f"observed {found.get('observed_value')}"
    rows = [{key: row[key] for key in row_names} for row in found.get("unexpected_index_list", [])]
    return Outcome(frame, config["description"], bool(item["success"]), observed, rows[:example_count])


def _exceptions(info: dict[str, Any]) -> list[dict[str, Any]]:
    nested = [info] if "raised_exception" in info else list(info.values())
    return [entry for entry in nested if entry.get("raised_exception")]


def _page(name: str, result: ExpectationSuiteValidationResult) -> str:
    """Render one page of GX's own Data Docs, from plain JSON numbers because its renderer fails on numpy's."""
    plain = copy.deepcopy(result.to_json_dict())
    for item in plain["results"]:
        found = item["result"]
        for key in (
            "unexpected_list",
            "unexpected_index_list",
            "unexpected_index_query",
            "partial_unexpected_index_list",
        ):
            found.pop(key, None)
        item["expectation_config"]["id"] = None
    plain["meta"] = {"great_expectations_version": gx.__version__}
    plain["suite_name"] = name
    loaded = expectationSuiteValidationResultSchema.load(plain)
    document = ValidationResultsPageRenderer(run_info_at_end=True).render(loaded)
    return _self_contained(str(DefaultJinjaPageView().render(document)))


def _self_contained(page: str) -> str:
    """Remove everything GX's page loads from other hosts (styles, scripts, a logo with a timestamp in its URL)."""
    page = re.sub(r"<script[^>]*src=\"https?://[^>]*>\s*</script>", "", page)
    page = re.sub(r"<link\b[^>]*>|<img\b[^>]*https?://[^>]*>", "", page)
    return page.replace("</head>", f"<style>{PAGE_STYLE}</style></head>", 1)
