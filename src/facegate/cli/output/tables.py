"""Tables: the summary of a run on stderr, evaluations and savings on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from facegate.pipeline.plurals import count

if TYPE_CHECKING:
    from facegate.evaluation.calibration import CalibrationReport, CameraCalibration
    from facegate.evaluation.evaluate import Evaluation
    from facegate.evaluation.open_set import OpenSet
    from facegate.evaluation.savings import Savings
    from facegate.pipeline.observability.report import CostReport, RunReport


def summary_table(report: RunReport) -> Table:
    """Summary with a row per camera that fits 80 columns; long names are folded."""
    title = "facegate run" + (" (stopped)" if report.interrupted else "")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("camera", overflow="fold", min_width=7)
    for column in ("frames", "fps", "skipped", "faces", "sent", "superseded", "below\nthreshold", "other"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for camera in report.cameras:
        named = ("forwarded", "superseded", "below_threshold")
        other = sum(number for outcome, number in camera.outcomes.items() if outcome not in named)
        table.add_row(
            camera.camera,
            _count(camera.frames_processed),
            f"{camera.processed_fps:.1f}",
            _count(camera.frames_overwritten),
            _count(camera.observed),
            *(_count(camera.outcomes.get(outcome, 0)) for outcome in named),
            _count(other),
            camera.state,
        )
    return table


def _count(number: int) -> str:
    """Number in at most six characters; the report has every digit."""
    if number < 100_000:
        return str(number)
    return f"{number / 1e3:.0f}k" if number < 10_000_000 else f"{number / 1e6:.1f}M"


def _cost_line(cost: CostReport) -> str:
    """CPU cost of each stage, largest first."""
    shares = sorted(cost.parts().items(), key=lambda item: -item[1])
    stages = ", ".join(
        f"{name} {100 * spent / cost.total_s:.0f} %" for name, spent in shares if spent >= cost.total_s / 200
    )
    latency = cost.ms_per_frame("detect", "track", "score", "gate", "deliver")
    per_frame = "" if latency is None else f"; {latency:.1f} ms per processed frame without decoding"
    return f"cost: {cost.cores:.2f} cores ({stages}){per_frame}"


def show_summary(report: RunReport, *, without_worker: bool = False) -> None:
    """Print the summary of a run to stderr; nothing about workers if the run needed none and had none."""
    console = Console(stderr=True)
    console.print(summary_table(report))
    if report.cost.total_s:
        console.print(_cost_line(report.cost))
    delivery = report.delivery
    kept = 100 * (1 - report.forwarded_share) if report.observed else 0.0
    console.print(
        f"{count(report.observed, 'face')} on {count(report.tracks, 'track')}, {report.shots} forwarded "
        f"({kept:.1f} % not sent to recognition); {report.duration_s:.1f} s"
    )
    if (delivery.accepted or not delivery.outputs) and not without_worker:
        feedback = (
            f"; {delivery.answered - delivery.inconclusive} of {delivery.answered} results conclusive"
            if delivery.answered
            else ""
        )
        invalid = f", {delivery.invalid} invalid" if delivery.invalid else ""
        console.print(
            f"workers: {delivery.acknowledged} acknowledged, {delivery.undelivered} not{feedback}{invalid}"
        )
    for name, output in delivery.outputs.items():
        dropped = f", {output.dropped} dropped" if output.dropped else ""
        console.print(f"{name}: {output.acknowledged} delivered, {output.undelivered} pending{dropped}")
    avoided = report.avoided
    if avoided.fr_ms:
        console.print(
            f"avoided: {avoided.fr_calls} recognition calls, {avoided.fr_ms / 1000:.1f} s of recognition, "
            f"{avoided.bytes / 1e6:.1f} MB"
        )
    for camera in report.cameras:
        loss = camera.loss
        if loss is not None and loss.visits_needed:
            console.print(_missing(camera.camera, loss.visits_needed))
        elif loss is not None:
            console.print(
                f"{camera.camera}: threshold {camera.threshold} loses {100 * loss.lost:.1f} % of identifications "
                f"(95 % confidence interval {100 * loss.low:.1f} to {100 * loss.high:.1f} %)"
            )
        if camera.drift is not None:
            console.print(
                f"{camera.camera}: similarity drift from {camera.drift.before} to {camera.drift.after}; "
                f"check the lens and lighting"
            )


def show_evaluation(evaluation: Evaluation) -> None:
    """Print a table per recognizer to stdout."""
    console = Console()
    degraded = "" if evaluation.degraded_seed is None else f", half degraded (seed {evaluation.degraded_seed})"
    for result in evaluation.recognizers:
        title = (
            f"{result.recognizer}: {count(evaluation.pictures, 'picture')} of "
            f"{evaluation.people} people{degraded}; "
            f"FNMR {result.fnmr0:.4f} at FMR {evaluation.fmr:g} (similarity {result.similarity:.3f})"
        )
        if result.verification_accuracy is not None:
            title += f"; accuracy on pairs {100 * result.verification_accuracy:.2f} %"
        table = Table(title=title, title_justify="left")
        table.add_column("quality")
        columns = (f"mean FNMR to {100 * evaluation.limit:.0f} %", "ratio", "95 % interval", "vs. laplacian")
        for column in columns:
            table.add_column(column, justify="right")
        for method in sorted(result.methods, key=lambda item: 9.0 if item.mean_fnmr is None else item.mean_fnmr):
            if method.mean_fnmr is None or method.ratio is None:
                table.add_row(method.method, "-", "-", method.problem or "no errors to avoid")
                continue
            interval = "" if method.ratio_low is None else f"{method.ratio_low:.2f} .. {method.ratio_high:.2f}"
            difference = (
                "" if method.against is None else f"{method.difference_low:+.2f} .. {method.difference_high:+.2f}"
            )
            table.add_row(method.method, f"{method.mean_fnmr:.4f}", f"{method.ratio:.3f}", interval, difference)
        console.print(table)


def show_open_set(recognizer: str, results: Sequence[OpenSet]) -> None:
    """Print the open-set results of a recognizer to stdout."""
    table = Table(title=f"{recognizer}: open set", title_justify="left")
    columns = ("people", "shots", "FPIR ≤", "FPIR", "false", "of", "FNIR", "fixed", "mean")
    for column in columns:
        table.add_column(column, justify="right")
    for result in results:
        for at in result.rates:
            table.add_row(
                *(str(result.enrolled), str(result.shots), f"{at.promised:g}"),
                *(f"{at.fpir:.5f}", str(at.false), str(result.strangers)),
                *(f"{value:.3f}" for value in (at.fnir, at.fnir_fixed, at.fnir_mean)),
            )
    Console().print(table)


def show_calibration(found: CalibrationReport) -> None:
    """Print the calibrated threshold of each camera to stdout."""
    console = Console(highlight=False)
    title = f"{found.recognizer}, {found.rule}\ntarget: keep {100 * found.keep:g} % of the identified visits"
    table = Table(title=title, title_justify="left")
    table.add_column("camera")
    for column in ("faces", "calls", "named", "min quality", "loss", "calls after", "named after"):
        table.add_column(column, justify="right")
    for camera in found.cameras:
        loss = camera.loss
        bounds = f"{100 * loss.lost:.1f} % ({100 * loss.low:.1f} to {100 * loss.high:.1f})"
        table.add_row(
            camera.camera,
            str(camera.faces),
            str(camera.floor.fr_calls),
            str(camera.floor.visits),
            str(camera.chosen.min_quality),
            "unknown" if loss.visits_needed else bounds,
            str(camera.chosen.fr_calls),
            str(camera.chosen.visits),
        )
    console.print(table)
    for camera in found.cameras:
        if len(camera.hours) > 1:
            console.print(_by_hour(camera))
        if camera.loss.visits_needed:
            console.print(_missing(camera.camera, camera.loss.visits_needed))


def _by_hour(camera: CameraCalibration) -> Table:
    table = Table(title=f"{camera.camera}, by hour", title_justify="left")
    for column in ("hour", "faces", "named", "calls after", "named after"):
        table.add_column(column, justify="right")
    for hour in camera.hours:
        counts = (hour.faces, hour.named_at_floor, hour.fr_calls, hour.named)
        table.add_row(f"{hour.hour:02}:00", *(str(count) for count in counts))
    return table


def _missing(camera: str, visits: int) -> str:
    return f"{camera}: {visits} more identified visits needed before the threshold can be raised"


def show_savings(savings: Savings) -> None:
    """Print the comparison of policies, and the people each of them missed, to stdout."""
    console = Console(highlight=False)
    truth = "labeled visits" if savings.labeled else "tracks as visits, named by majority"
    title = (
        f"{count(savings.faces, 'face')} of {count(len(savings.sources), 'source')}; "
        f"{savings.recognizer}, {savings.rule}; {truth}"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("policy")
    for column in ("FR calls", "FR ms", "kB", "identified", "false", "s to first ID"):
        table.add_column(column, justify="right")
    for name, result in savings.policies.items():
        table.add_row(
            name.replace("_", " "),
            str(result.fr_calls),
            f"{result.fr_ms:.0f}",
            f"{result.bytes / 1000:.0f}",
            f"{result.identified} of {result.visits}",
            str(result.false_identifications),
            "-" if result.seconds_to_first is None else f"{result.seconds_to_first:.2f}",
        )
    console.print(table)
    for name, missed in savings.missed.items():
        if missed:
            console.print(f"{name.replace('_', ' ')} missed: {', '.join(missed)}")
