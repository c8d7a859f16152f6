"""Digests of values: one name for equal content, in every process."""

from __future__ import annotations

from mxm.pipeline.values.digest.files import digest_of_file, digest_of_names
from mxm.pipeline.values.digest.stream import UndigestibleError
from mxm.pipeline.values.digest.walk import digest_of

__all__ = ["UndigestibleError", "digest_of", "digest_of_file", "digest_of_names"]
