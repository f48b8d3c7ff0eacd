"""Names of the package's generators. Free of torch, so that settings can be read before it is imported."""

from typing import Final, Literal

ReflectanceModel = Literal["painted", "people"]
"""`painted`: trained on painted skin alone, no person's data are behind it; `people`: the same generator with what the
skin of photographed people has beyond it."""
DEFAULT_MODEL: Final[ReflectanceModel] = "painted"
