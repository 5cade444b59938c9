"""Open-set identification (ISO/IEC 19795-1): FPIR and FNIR of a recognizer.

Half of the people are the development set, to which the impostor model (cohort and tail) is fitted. Of the other
half, some are enrolled with up to three pictures and probed with the rest; the others are non-mated. Then the
halves swap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.errors import ConfigError
from facegate.pipeline.records import Floats
from facegate.recognition.embedders import unit
from facegate.recognition.matching.decision_rule import FpirRule
from facegate.recognition.matching.gallery import quality_weight
from facegate.recognition.matching.score_tail import ImpostorModel, cohort_mean_similarity, fit_tail, make_cohort

ENROLLED = 3
"""Maximum number of enrolled pictures per person."""
RATES = (0.001, 0.01)
CURVE = tuple(float(rate) for rate in np.geomspace(1e-3, 0.3, 26))
MIN_PEOPLE = 800


class Faces(msgspec.Struct, frozen=True, eq=False):
    """Embeddings of ``N`` pictures for open-set identification."""

    names: NDArray[np.str_]
    """``(N,)``."""
    embeddings: Floats
    """``(N, D)`` unit length."""
    quality: NDArray[np.int64]
    """``(N,)`` 0..100."""

    def fused(self, rows: Sequence[NDArray[np.int64]]) -> Floats:
        """Quality-weighted means of groups of pictures, ``(G, D)`` of unit length."""
        weights = quality_weight(self.quality)[:, None]
        means = [(self.embeddings[group] * weights[group]).sum(0) for group in rows]
        return unit(np.array(means, np.float32).reshape(len(rows), -1))


class AtRate(msgspec.Struct, frozen=True):
    """Measured rates at a target FPIR."""

    promised: float
    fpir: float
    """Fraction of non-mated visits that got a name."""
    false: int
    fnir: float
    """Fraction of mated visits that did not get the right name."""
    fnir_fixed: float
    """The same with one fixed similarity threshold at the same FPIR."""
    fnir_mean: float
    """The same with unweighted mean templates."""
    fpir_agreeing: float
    """FPIR where two shots of a visit must each match the same person (``--min-shots 2``)."""
    false_agreeing: int
    fnir_agreeing: float
    """FNIR likewise, among visits with two shots or more."""


class OpenSet(msgspec.Struct, frozen=True):
    """Result for a gallery size and a number of shots."""

    enrolled: int
    shots: int
    strangers: int
    """Number of non-mated visits."""
    mated: int
    """Number of mated visits."""
    rates: tuple[AtRate, ...]
    fpir: tuple[float, ...]
    """FPIR of the curve's points, with ``fnir`` and ``fnir_fixed`` at each."""
    fnir: tuple[float, ...]
    fnir_fixed: tuple[float, ...]


def fit_impostor_model(
    faces: Faces, *, model: str, source: str, seed: int = 0, cohort: Floats | None = None
) -> ImpostorModel:
    """Compute the cohort of all people, and fit the tail to halves that are scored with each other's cohort.

    A person in the cohort would seem to have near impostors. With a ``cohort`` ``(C, D)`` of other people, only the
    tail is fitted.

    Raises:
        ConfigError: too few people.
    """
    rows = _rows(faces.names)
    people = np.random.default_rng(seed).permutation(sorted(rows))
    halves = people[: len(people) // 2], people[len(people) // 2 :]
    scores, taken = [], []
    for own, others in (halves, halves[::-1]):
        used = make_cohort(faces.fused([rows[name] for name in others]), seed) if cohort is None else cohort
        templates = faces.fused([rows[name][:ENROLLED] for name in own])
        several = [index for index, name in enumerate(own) if len(rows[name]) > 1]
        whose = np.concatenate([np.repeat(np.arange(len(own)), [len(rows[name]) for name in own]), several])
        probes = np.concatenate([faces.embeddings[np.concatenate([rows[n] for n in own])], templates[several]])
        near = cohort_mean_similarity(probes, used)
        found = probes @ templates.T - near[:, None]
        scores.append(found[whose[:, None] != np.arange(len(own))])
        taken.append(near)
    if cohort is None:
        cohort = make_cohort(faces.fused([rows[name] for name in people]), seed)
    typical = float(np.median(np.concatenate(taken)))
    tail = fit_tail(np.concatenate(scores), model=model, typical=typical, cohort=cohort, source=source)
    return ImpostorModel(tail, cohort)


def evaluate_open_set(
    faces: Faces,
    sizes: Sequence[int],
    shots: Sequence[int] = (1, 3),
    draws: int = 4,
    progress: Callable[[int, int], None] = lambda done, total: None,
    cohort: Floats | None = None,
    rates: Sequence[float] = RATES,
    repeats: int = 1,
) -> list[OpenSet]:
    """Measure FPIR and FNIR in galleries of these sizes.

    Args:
        faces: faces of many people.
        sizes: numbers of enrolled people; beyond a quarter of all, people of the development half fill up.
        shots: maximum numbers of pictures fused per visit.
        draws: number of random splits, each used both ways.
        progress: called with the number of splits done and in total.
        cohort: of other people, see :func:`fit_impostor_model`.
        rates: rates that are promised.
        repeats: number of divisions of each half into enrolled people and strangers.

    Raises:
        ConfigError: too few people.
    """
    rows = _rows(faces.names)
    if len(rows) < MIN_PEOPLE:
        raise ConfigError(f"an open-set evaluation needs at least {MIN_PEOPLE} people, got {len(rows)}: add people")
    found: dict[tuple[int, int], list[_Trial]] = {(size, shot): [] for size in sizes for shot in shots}
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        people = rng.permutation(sorted(rows))
        halves = people[: len(people) // 2], people[len(people) // 2 :]
        for side, (development, test) in enumerate((halves, halves[::-1])):
            chosen = np.concatenate([rows[name] for name in development])
            part = Faces(faces.names[chosen], faces.embeddings[chosen], faces.quality[chosen])
            strangers = fit_impostor_model(part, model="", source="", cohort=cohort)
            for (size, shot), trials in found.items():
                divisions = [test, *(rng.permutation(test) for _ in range(repeats - 1))]
                galleries = (each for division in divisions for each in _galleries(size, development, division))
                for gallery, others in galleries:
                    trials.append(_trial(faces, rows, gallery, others, shot, strangers, rng, rates))
            progress(2 * draw + side + 1, 2 * draws)
    return [_summary(size, shot, trials) for (size, shot), trials in found.items()]


class _Trial(msgspec.Struct, frozen=True, eq=False):
    """Best scores of a gallery's visits, by method; -inf for a mated visit whose best match is another person."""

    limits: dict[float, float]
    stranger: dict[str, Floats]
    mated: dict[str, Floats]
    several: NDArray[np.bool_]
    """Whether a mated visit has two shots or more."""


def _rows(names: NDArray[np.str_]) -> dict[str, NDArray[np.int64]]:
    order = np.argsort(names, kind="stable")
    starts = np.flatnonzero(np.r_[True, names[order][1:] != names[order][:-1]])
    return {str(names[group[0]]): group for group in np.split(order, starts[1:])}


def _galleries(
    size: int, development: NDArray[np.str_], test: NDArray[np.str_]
) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """Galleries of a size, each with its non-mated people."""
    half = len(test) // 2
    others = [str(name) for name in test[half:]]
    for start in range(0, half - size + 1, size):
        yield [str(name) for name in test[start : start + size]], others
    if size > half:
        yield [str(name) for name in [*test[:half], *development[: size - half]]], others


def _trial(
    faces: Faces,
    rows: dict[str, NDArray[np.int64]],
    gallery: Sequence[str],
    others: Sequence[str],
    shots: int,
    strangers: ImpostorModel,
    rng: np.random.Generator,
    rates: Sequence[float],
) -> _Trial:
    enrolled, visits, whose = [], [], []
    for index, name in enumerate(gallery):
        own = rng.permutation(rows[name])
        kept = max(1, min(ENROLLED, len(own) - 1))
        enrolled.append(own[:kept])
        probes = [own[start : start + shots] for start in range(kept, len(own), shots)]
        visits += probes
        whose += [index] * len(probes)
    for name in others:
        own = rng.permutation(rows[name])
        visits += [own[start : start + shots] for start in range(0, len(own), shots)]
    probes_ = faces.fused(visits)
    templates = faces.fused(enrolled)
    similarities = probes_ @ templates.T
    means = unit(np.stack([faces.embeddings[group].mean(0) for group in enrolled]))
    plain = unit(np.stack([faces.embeddings[group].mean(0) for group in visits])) @ means.T
    alone = faces.embeddings @ templates.T - strangers.cohort_mean_similarity(faces.embeddings)[:, None]
    found = {
        "agreeing": np.array([_second_best(alone[group]) for group in visits], np.float32),
        "promised": similarities - strangers.cohort_mean_similarity(probes_)[:, None],
        "fixed": similarities,
        "mean": plain,
    }
    mated = np.array(whose, np.int64)
    return _Trial(
        limits={rate: FpirRule(strangers, rate).threshold(len(gallery)) for rate in rates},
        stranger={name: score[len(mated) :].max(1) for name, score in found.items()},
        mated={name: _best(score[: len(mated)], mated) for name, score in found.items()},
        several=np.array([len(group) > 1 for group in visits[: len(mated)]], bool),
    )


def _second_best(scores: Floats) -> Floats:
    """Score ``(P,)`` that two of the shots ``(S, P)`` reach with each person."""
    if len(scores) < 2:
        return np.full(scores.shape[1], -np.inf, np.float32)
    found: Floats = np.sort(scores, axis=0)[-2]
    return found


def _best(scores: Floats, whose: NDArray[np.int64]) -> Floats:
    best: Floats = np.where(scores.argmax(1) == whose, scores.max(1), -np.inf).astype(np.float32)
    return best


def _summary(size: int, shots: int, trials: Sequence[_Trial]) -> OpenSet:
    stranger = {name: np.concatenate([trial.stranger[name] for trial in trials]) for name in trials[0].stranger}
    mated = {name: np.concatenate([trial.mated[name] for trial in trials]) for name in trials[0].mated}

    def fnir(method: str, fpir: float) -> float:
        return float((mated[method] < np.quantile(stranger[method], 1 - fpir)).mean())

    rates = []
    for rate in trials[0].limits:
        false = sum(int((trial.stranger["promised"] >= trial.limits[rate]).sum()) for trial in trials)
        missed = sum(int((trial.mated["promised"] < trial.limits[rate]).sum()) for trial in trials)
        fpir = false / len(stranger["promised"])
        agreeing = sum(int((trial.stranger["agreeing"] >= trial.limits[rate]).sum()) for trial in trials)
        several = sum(int(trial.several.sum()) for trial in trials)
        named = sum(int((trial.mated["agreeing"] >= trial.limits[rate]).sum()) for trial in trials)
        rates.append(
            AtRate(
                promised=rate,
                fpir=fpir,
                false=false,
                fnir=missed / max(len(mated["promised"]), 1),
                fnir_fixed=fnir("fixed", fpir),
                fnir_mean=fnir("mean", fpir),
                fpir_agreeing=agreeing / len(stranger["promised"]),
                false_agreeing=agreeing,
                fnir_agreeing=1 - named / max(several, 1),
            )
        )
    return OpenSet(
        enrolled=size,
        shots=shots,
        strangers=len(stranger["promised"]),
        mated=len(mated["promised"]),
        rates=tuple(rates),
        fpir=CURVE,
        fnir=tuple(fnir("promised", rate) for rate in CURVE),
        fnir_fixed=tuple(fnir("fixed", rate) for rate in CURVE),
    )


def plot(results: Mapping[str, Sequence[OpenSet]], path: Path) -> None:
    """Draw FNIR over FPIR, one panel per recognizer; dotted: a fixed similarity threshold."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(results), figsize=(6 * len(results), 4.5), squeeze=False)
    for panel, (name, found) in zip(panels[0], results.items(), strict=True):
        for index, result in enumerate(found):
            label = f"{result.enrolled} people, {result.shots} shot{'s' * (result.shots > 1)}"
            panel.plot(result.fpir, result.fnir, f"C{index}", label=label)
            panel.plot(result.fpir, result.fnir_fixed, f"C{index}:")
        panel.set(xscale="log", xlabel="FPIR", ylabel="FNIR", title=name, ylim=(0, None))
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
