#!/bin/sh
# One run on a machine with a GPU and nothing but PyTorch, NumPy, OpenCV, typer and safetensors: about nine minutes.
#
#   sh training/gpu.sh INPUTS OUT [SECONDS] [START.safetensors SAMPLES]
#
# INPUTS holds pool-open112.zip, face-reidentification-retail-0095.xml and .bin, and dlib's
# dlib_face_recognition_resnet_model_v1.dat. OUT gets the exported model, the curves and the checkpoint in pieces of
# 15 MiB ('cat student.pt.* > student.pt' puts it together). msgspec and av must be importable.
set -e
inputs=$1 out=$2 seconds=${3:-420}
mkdir -p runs/gpu "$out"
cores=$(nproc)
workers=$((cores > 4 ? cores - 3 : 1))
start=""
[ -n "$4" ] && start="--start $4 --start-samples $5"
python3 -m facegate.training distil --pool "$inputs/pool-open112.zip" \
    --teacher "$inputs/face-reidentification-retail-0095.xml" \
    --second "$inputs/dlib_face_recognition_resnet_model_v1.dat" --checkpoint runs/gpu/student.pt $start \
    --batch 256 --rate 1.5 --warmup 30000 --stem-until 200000 --samples 20000000 \
    --workers "$workers" --every-s 20 --for-s "$seconds"
cp runs/gpu/student.csv "$out/"
split -b 15m runs/gpu/student.pt "$out/student.pt."
python3 -m facegate.training export runs/gpu/student.pt "$out/open.safetensors" --pool "$inputs/pool-open112.zip"
