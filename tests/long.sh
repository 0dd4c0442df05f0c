#!/usr/bin/env bash
# Everything that takes longer than a change should wait for: the soaks, long fuzzing, the benchmarks.
#
#     tests/long.sh                 about three quarters of an hour
#     MINUTES=5 EXAMPLES=300 tests/long.sh
#     MINUTES=30 tests/long.sh      before a release: live cameras for half an hour, each of their faults six times
#
# MINUTES: of each soak (10); the one with live cameras takes 5 to see each fault once. EXAMPLES: damaged files a fuzz
# test makes (1000). PYTHON: the interpreter (python). The output of each part goes to LOGS (a new folder by default),
# its figures to the terminal. Needs what .ci/run installs, and libfaketime for steps of the wall clock. Ends with 1 if
# a part failed. A benchmark fails only by breaking: its bars are judged by whoever reads them.
set -euo pipefail

cd "$(dirname "$0")/.."
minutes="${MINUTES:-10}"
examples="${EXAMPLES:-1000}"
python="${PYTHON:-python}"
logs="${LOGS:-$(mktemp -d -t edge-perception-long-XXXXXX)}"
mkdir -p "$logs"
summary=()
failed=0

part() {
    local name="$1" began="$SECONDS" outcome="ok"
    shift
    printf '\n== %s\n' "$name"
    if ! "$@" 2>&1 | tee "$logs/$name.log"; then
        outcome="FAILED"
        failed=1
    fi
    summary+=("$(printf '%-20s %-7s %5d s' "$name" "$outcome" "$((SECONDS - began))")")
}

# The benchmarks come first and alone: they share the machine with nothing of ours.
for benchmark in replay_speed added_latency cpu_per_frame viewer_cost curve_cost live_fairness tracker recordings nv12 training_speed; do
    part "$benchmark" "$python" "tests/benchmarks/$benchmark.py"
done
part soak "$python" tests/soak.py --minutes "$minutes"
part live_soak "$python" tests/live_soak.py --minutes "$minutes"
part recording_kill "$python" tests/recording_kill.py --kills 10
part tensorrt_versions env EDGE_PERCEPTION_ALL_TENSORRT=1 "$python" -m pytest -rs tests/engines/plans/test_signatures.py
part kernels env EDGE_PERCEPTION_ALL_ARCHITECTURES=1 "$python" -m pytest -rs tests/engines/kernels/test_compiling.py
mapfile -t fuzzed < <(grep -rl --include='test_*.py' '^from hypothesis import' tests)
part fuzz env SOURCE_FUZZ_EXAMPLES="$examples" "$python" -m pytest --hypothesis-profile=long "${fuzzed[@]}"

printf '\n== summary (logs in %s)\n' "$logs"
printf '%s\n' "${summary[@]}"
grep -h -E 'kept$|MISSED' "$logs"/*.log || true
exit "$failed"
