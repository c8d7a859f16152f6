"""A Typer app that does nothing: what every command built on Typer pays."""

import typer

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command()
def main() -> None:
    pass


app()
