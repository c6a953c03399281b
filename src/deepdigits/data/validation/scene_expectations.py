"""The Great Expectations suites that the scenes must pass before training."""

from __future__ import annotations

from typing import Any

import great_expectations.expectations as gxe

from deepdigits.data.scenes.scenes import LEAST_AREA

ROW_NAMES = {"digits": ["digit"], "scenes": ["scene"], "scene_splits": ["split"]}


def scene_expectations(classes: int) -> dict[str, list[Any]]:
    """The suite for each frame in `deepdigits.data.validation.scene_frame`. Failures are reported by description."""
    last = classes - 1
    return {
        "digits": [
            gxe.ExpectColumnValuesToBeInSet(
                column="label",
                value_set=list(range(classes)),
                description=f"every digit in a scene is one of 0 to {last}",
            ),
            gxe.ExpectColumnValuesToBeInSet(
                column="named", value_set=[True], description="every digit has the label of the image it was made from"
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="margin", min_value=0, description="every box lies inside its scene"
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="area", min_value=LEAST_AREA, description="every digit has a mask (12 pixels or more)"
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="box_error", max_value=0, description="every box is the tightest one around the digit's mask"
            ),
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="most_overlap",
                column_B="overlap",
                or_equal=True,
                description="no two boxes of a scene overlap by more than is allowed",
            ),
            gxe.ExpectColumnValuesToBeInSet(
                column="leaked",
                value_set=[False],
                description="no image is used in the scenes of two splits (a test digit in train)",
            ),
        ],
        "scenes": [
            gxe.ExpectColumnValuesToBeBetween(column="digits", min_value=1, description="every scene has a digit"),
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="most",
                column_B="digits",
                or_equal=True,
                description="no scene has more digits than allowed",
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="mask_mismatch",
                max_value=0,
                description="semantic and instance masks agree where there are digits",
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="std", min_value=3, description="no scene is blank (pixel deviation of 3 or more)"
            ),
            gxe.ExpectColumnValuesToBeUnique(column="sha256", description="no scene appears twice"),
        ],
        "scene_splits": [
            gxe.ExpectColumnPairValuesToBeEqual(
                column_A="count",
                column_B="expected_count",
                description="every split has its expected number of scenes",
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="least_share", min_value=0.5, description="no digit is rare in a split's scenes"
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="greatest_share", max_value=1.6, description="no digit dominates a split's scenes"
            ),
        ],
    }
