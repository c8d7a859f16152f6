"""A project's record of its runs, in ``.mxm/``; no other part of a run knows of it."""
