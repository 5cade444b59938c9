#!/usr/bin/env bash
# Packages: faiss-cpu==1.15.1, numpy==2.4.6
#
# Behavior: where several stored vectors have exactly the same inner product with the query, IndexFlatIP.search()
# selects those with the lowest ids but returns them highest id first. So the best match depends on k: with the
# same picture stored under the ids 10 to 39, k=1 answers 10, k=3 answers 12 first, k=5 14. IndexFlatL2 returns
# ascending ids, with the same first answer for every k. The number of queries in the batch changes nothing.
#
# Why it matters: the same picture enrolled for two people (twins in a badge system, a mistake, a merge of two
# galleries) gives exact ties. A worker that asks for the best match and an audit page that asks for the best five
# name different people for the same face. Expected before the run: lowest id first, whatever k is.
#
# Seen: inner product k=1: 10; k=3: 12 11 10; k=5: 14 13 12 11 10. L2 k=5: 10 11 12 13 14.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq faiss-cpu==1.15.1 numpy==2.4.6
"$T/venv/bin/python" - <<'EOF'
import faiss
import numpy as np

faiss.omp_set_num_threads(1)
vectors = np.random.default_rng(0).normal(size=(60, 128)).astype(np.float32)
faiss.normalize_L2(vectors)
vectors[10:40] = vectors[10]

for kind, expected in (
    (faiss.IndexFlatIP, {1: [10], 3: [12, 11, 10], 5: [14, 13, 12, 11, 10]}),
    (faiss.IndexFlatL2, {1: [10], 3: [10, 11, 12], 5: [10, 11, 12, 13, 14]}),
):
    index = kind(128)
    index.add(vectors)
    for k, ids in expected.items():
        for queries in (1, 64):
            values, found = index.search(np.repeat(vectors[10:11], queries, 0), k)
            assert len(set(values.ravel().tolist())) == 1, "an exact tie"
            assert found.tolist() == [ids] * queries, (kind.__name__, k, found[0])
        print(kind.__name__, f"k={k}:", ids)
EOF
