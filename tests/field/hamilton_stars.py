"""Who has starred a few repositories: a map over them, then a map over the pages of all."""

import mxm

STARS = {"acme/risk": ["ann", "bob", "cy"], "acme/data": ["bob", "dee"], "acme/new": []}


@mxm.task(on_item_error="skip")
def star_count(repository: str) -> tuple[str, int]:
    return repository, len(STARS[repository])


@mxm.task
def pages(counts: list[tuple[str, int]], per_page: int) -> list[tuple[str, int]]:
    return [(name, start) for name, count in counts for start in range(0, count, per_page)]


@mxm.task
def stargazers(page: tuple[str, int], per_page: int) -> list[str]:
    name, start = page
    return STARS[name][start : start + per_page]


@mxm.task
def unique(users: list[list[str]]) -> list[str]:
    return sorted({user for page in users for user in page})


@mxm.task
def final_count(users: list[str]) -> int:
    return len(users)


@mxm.flow
def stars(repositories: list[str] = [*STARS], per_page: int = 2) -> dict[str, list[str] | int]:
    found = pages(star_count.map(repositories), per_page)
    users = unique(stargazers.map(found, per_page=per_page))
    return {"users": users, "count": final_count(users)}
