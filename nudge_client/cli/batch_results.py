"""`nudge batch status`, `export` and `report`: where a job stands, its output in other files, and what it gave."""

from __future__ import annotations

from pathlib import Path

import click

from nudge_client.cli.main import debug_option


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("to", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["jsonl", "csv", "parquet"]), help="[default: by the ending of TO]")
@click.option("--force", is_flag=True, help="Replace TO if it is there.")
@debug_option
def export(out: Path, to: Path, form: str | None, force: bool) -> None:
    """Write the output OUT of a job to TO, in the order of the input.

    As JSONL with the same lines, or as a table in CSV or Parquet. The job may still be running: what is finished is
    written. TO is there whole or not at all.
    """
    from nudge_client.batch.results.export import export as write

    done = write(out, to, form=form, force=force)
    click.echo(f"{to}: {done.records:,} records, {done.failed:,} of them failed", err=True)


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with pictures, which opens from disk.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as an object.")
@debug_option
def report(out: Path, html: Path | None, as_json: bool) -> None:
    """Tell what the job with the output OUT gave so far.

    How many were answered and why others failed; how nudge ratios, lengths, times and costs are spread; and ten answers
    worth reading: the most nudged, the most repetitive, the longest.
    """
    from nudge_client.batch.results.report import summarize

    if html:
        from nudge_client.batch.results.export import check_target

        check_target(out, html, force=True)
    summary = summarize(out)
    if html:
        from nudge_client.batch.replacing import replacing
        from nudge_client.batch.results.report_page import page

        with replacing(html) as file:
            file.write(page(summary).encode())
    if as_json:
        import json

        click.echo(json.dumps(summary, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    from nudge_client.batch.results.report_text import show

    show(summary, Console(highlight=False))


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print an object.")
@debug_option
def status(out: Path, as_json: bool) -> None:
    """Tell where the job with the output OUT stands, from any shell."""
    import json

    from nudge_client.batch.status import status_of
    from nudge_client.cli.batch_view import picture

    snapshot = status_of(out)
    if as_json:
        click.echo(json.dumps(snapshot, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    Console(highlight=False).print(picture(snapshot))
