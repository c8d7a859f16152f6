"""Write a project of FLOWS flows of TASKS tasks each, ten flows a module, and one small flow.

project.py FLOWS TASKS writes into the working directory.
"""

import sys
from pathlib import Path

flows, tasks = int(sys.argv[1]), int(sys.argv[2])
Path("flows").mkdir()
Path("pyproject.toml").write_text('[tool.mxm.pipeline]\npaths = ["flows"]\n')
for start in range(0, flows, 10):
    lines = ["import mxm", ""]
    for flow in range(start, min(start + 10, flows)):
        for i in range(tasks):
            upstream = f"(upstream=f{flow}_t{i - 1})" if i else ""
            takes = "rows: list[int], factor: int = 2" if i else "size: int = 10"
            lines += ["", f"@mxm.task{upstream}", f"def f{flow}_t{i}({takes}) -> list[int]:"]
            lines += ["    return [factor * row for row in rows]" if i else "    return [size]", ""]
        lines += ["", "@mxm.flow", f"def flow_{flow}(size: int = 10):"]
        lines += [f"    return f{flow}_t{tasks - 1}", ""]
    Path(f"flows/group_{start // 10}.py").write_text("\n".join(lines))
Path("one.py").write_text(
    "import mxm\n\n\n@mxm.task\ndef hello(name: str = 'you') -> str:\n    return name\n\n\n"
    "@mxm.flow\ndef one(name: str = 'you'):\n    return hello\n"
)
