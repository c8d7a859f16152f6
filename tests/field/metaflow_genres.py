"""The quartiles of what films took, by genre."""

import csv

import mxm


@mxm.task
def films(path: str) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@mxm.task
def genres(films: list[dict[str, str]]) -> list[str]:
    return sorted({genre for film in films for genre in film["genres"].split("|")})


@mxm.task
def quartiles(genre: str, films: list[dict[str, str]]) -> tuple[str, list[int]]:
    gross = sorted(int(film["gross"]) for film in films if genre in film["genres"].split("|"))
    return genre, [gross[len(gross) * quarter // 4] for quarter in (1, 2, 3)]


@mxm.task
def by_genre(quartiles: list[tuple[str, list[int]]]) -> dict[str, list[int]]:
    return dict(quartiles)


@mxm.flow
def genre_stats(path: str) -> dict[str, list[int]]:
    table = films(path)
    return by_genre(quartiles.map(genres(table), films=table))
