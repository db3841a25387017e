"""Options that several commands on a generator have."""

from pathlib import Path

import click

source_argument = click.argument("source", metavar="FOLDER|JOB")
class_option = click.option("--class", "class_name", help="Of a conditional generator: a class, by name or number.")
seed_option = click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, help="Which latents.")
picture_option = click.option("--into", "target", type=click.Path(path_type=Path), help="PNG to write.")
psi_option = click.option(
    "--psi", type=click.FloatRange(-2, 2), help="Of a style generator: styles nearer to their mean; 1 changes nothing."
)
