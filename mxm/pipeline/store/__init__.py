"""What a project remembers of its runs, in ``.mxm/``: no other part of a run knows of it."""
