#!/usr/bin/env bash
# Packages: faiss-cpu==1.15.1, numpy==2.4.6
#
# Behavior: 200 copies of one vector make IndexHNSWFlat lose other vectors: a tenth of 999 stored vectors are no
# longer found by a search for themselves (similarity 1, k=1), all of which are found without the copies. A search
# for the copied vector with k=300 among 1199 vectors returns -1 for most places.
#
# Why it matters: galleries collect copies: a camera with a frozen picture, a poster in view, an enrollment that
# was repeated. Each copy makes the graph around it a closed group, and people who have nothing to do with it
# become unknown. Expected before the run: copies cost memory, and others are still found.
#
# Seen: without copies 100 % found; with 200 copies added last about 90 %, exact search 100 %.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq faiss-cpu==1.15.1 numpy==2.4.6
"$T/venv/bin/python" - <<'EOF'
import faiss
import numpy as np

faiss.omp_set_num_threads(1)


def measure(seed: int) -> tuple[float, float, float, int]:
    people = np.random.default_rng(seed).normal(size=(1000, 128)).astype(np.float32)
    faiss.normalize_L2(people)
    others, copied = people[1:], people[:1]
    stored = np.concatenate([others, np.repeat(copied, 200, 0)])

    def recall(index: faiss.Index, vectors: np.ndarray) -> float:
        index.add(vectors)
        return float((index.search(others, 1)[1][:, 0] == np.arange(999)).mean())

    graph = faiss.IndexHNSWFlat(128, 16, faiss.METRIC_INNER_PRODUCT)
    with_copies = recall(graph, stored)
    without = recall(faiss.IndexHNSWFlat(128, 16, faiss.METRIC_INNER_PRODUCT), others)
    exact = recall(faiss.IndexFlatIP(128), stored)
    return without, with_copies, exact, int((graph.search(copied, 300)[1] == -1).sum())


for seed in range(3):
    without, with_copies, exact, missing = measure(seed)
    print(f"seed {seed}: found without copies {without:.1%}, with copies {with_copies:.1%}, exact search {exact:.1%}; "
          f"-1 in {missing} of 300 places")
    assert exact == 1.0 and without > 0.98
    assert with_copies < 0.96 and missing > 0
EOF
