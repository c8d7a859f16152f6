import json
import sys
from pathlib import Path

import pytask

session = pytask.build(paths=Path("task_book.py"), verbose=0, capture="no")
if session.exit_code != pytask.ExitCode.OK:
    sys.exit("pytask failed")
print("VALUE", json.dumps(json.loads(Path("out/report.json").read_text())))
