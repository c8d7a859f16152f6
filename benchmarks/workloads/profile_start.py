"""Where the time of a command goes: profile_start.py run four ... prints the largest by module."""

import collections
import cProfile
import os
import pstats
import sys
from pathlib import Path

from mxm.pipeline.cli.main import main

profile = cProfile.Profile()
kept = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
try:
    profile.runcall(main)
except SystemExit:
    pass
sys.stdout.flush()
os.dup2(kept, 1)
shares: dict[str, float] = collections.defaultdict(float)
total = 0.0
for (file, _, name), (_, _, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
    parts = Path(file).parts
    if "site-packages" in parts:
        package = parts[parts.index("site-packages") + 1]
    elif "mxm" in parts:
        package = "mxm"
    else:
        package = "builtins" if file == "~" else "standard library"
    shares[f"{package}: {name}" if package == "builtins" else package] += own
    total += own
for package, own in sorted(shares.items(), key=lambda item: -item[1])[:10]:
    print(f"{100 * own / total:5.1f}%  {package}")
