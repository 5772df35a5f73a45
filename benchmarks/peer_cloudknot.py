"""cloudknot's side of the works that make resources on AWS and map functions.

Run with the Python of `cloudknot_env.sh`'s environment.

Subcommands as those of `side_bundlerun.py`. All state lies in a home folder that is made for the
call. cloudknot is imported after HOME is set, since it looks there. It is as published, but for
what stands here by name:

- its image is not built: a name stands in the list of images that ``DockerImage.build`` made. It
  pushes by ECR's PutImage, as it does by itself in moto's account, and so without Docker; what it
  notes of a push with Docker is noted here.
- ``pipreqs`` would ask the package index for names of distributions; the names that are imported
  are answered, outside of what is measured.
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from mapped import square
from measuring import (
    asked_while_waiting,
    control,
    counted,
    home_folder,
    of_services,
    output_of,
    peak_bytes,
    processes,
)

HERE = Path(__file__).resolve().parent
NAME = "bench"

_AGAIN = f"""
import sys
sys.path.append({str(HERE)!r})
import peer_cloudknot
peer_cloudknot.answer_names()
import cloudknot
cloudknot.Knot(name={NAME!r})
"""


def _configured(home: Path) -> None:
    """What `cloudknot configure` writes, which asks on a terminal and pulls an image."""
    (home / ".aws").mkdir()
    (home / ".aws" / "cloudknot").write_text("[aws]\nconfigured = True\nregion = us-east-1\n")


def answer_names() -> None:
    """Let nobody ask the package index."""
    from pipreqs import pipreqs

    def named(imports: list[str]) -> list[dict[str, Any]]:
        return [{"name": name, "version": None} for name in imports]

    pipreqs.get_imports_info = named


def _image() -> Any:
    """The image of the function, of which nothing was built."""
    import cloudknot

    answer_names()
    image = cloudknot.DockerImage(func=square, base_image="python:3.11-slim")
    built = {"name": "cloudknot/square", "tag": NAME}
    image._images = [built]
    section = f"docker-image {image.name}"
    cloudknot.config.add_resource(section, "images", f"{built['name']}:{built['tag']}")
    return image


def _knot() -> Any:
    import cloudknot

    return cloudknot.Knot(name=NAME, docker_image=_image())


def import_time(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Whole-process time of `import cloudknot`, and what it asks of AWS."""
    with counted() as found:
        times = processes("seconds", [sys.executable, "-c", "import cloudknot"], 5)
    return {**times, "requests": found["requests"]}


def make_knot(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Pars and Knot made; then found again by another process, which is timed as a whole."""
    import cloudknot

    image = _image()
    with counted() as made:
        cloudknot.Knot(name=NAME, docker_image=image)
    uri = f"{image.repo_uri}:{NAME}"
    cloudknot.config.add_resource(f"docker-image {image.name}", "repo-uri", uri)
    with counted() as again:
        output_of([sys.executable, "-c", _AGAIN])
    return {"made": {**made, "beside": made["requests"]}, "again": again}


def map_items(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """N items submitted; then all results, as the jobs end.

    ``--kind independent``: a job and a future an item; ``array``: one future for all results.
    """
    knot = _knot()
    with counted() as submitted:
        found = knot.map(range(given.count), job_type=given.kind)
    with counted() as gathered:
        control("go")
        results = found.result() if given.kind == "array" else [each.result() for each in found]
    if results != [item * item for item in range(given.count)]:
        raise RuntimeError(f"the results begin with {results[:3]}")
    return {"submitted": of_services(submitted), "gathered": of_services(gathered)}


def wait_for_jobs(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """What is asked in the first seconds that N jobs run."""
    _knot().map(range(given.count), job_type=given.kind)
    return asked_while_waiting(given.seconds)


WORKS = {
    "import_time": import_time,
    "make_knot": make_knot,
    "map_items": map_items,
    "wait_for_jobs": wait_for_jobs,
}


def main() -> None:
    """Do the named work in a home folder of its own, and print what was measured."""
    parser = argparse.ArgumentParser(description="One piece of work, done with cloudknot.")
    parser.add_argument("work", choices=sorted(WORKS))
    parser.add_argument("--count", type=int, default=100, help="items")
    parser.add_argument("--kind", choices=("array", "independent"), default="independent")
    parser.add_argument("--seconds", type=float, default=60, help="how long is waited for jobs")
    given = parser.parse_args()
    with home_folder("bench-cloudknot-") as home:
        os.environ["HOME"] = str(home)
        os.chdir(home)
        _configured(home)
        answer, sys.stdout = sys.stdout, sys.stderr
        found = WORKS[given.work](home, given)
    print(json.dumps({"peak_bytes": peak_bytes(), **found}), file=answer, flush=True)
    # Its threads wait for jobs that never end, and would keep this process.
    os._exit(0)


if __name__ == "__main__":
    main()
