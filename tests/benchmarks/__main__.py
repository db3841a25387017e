"""`python -m tests.benchmarks` prints every ratio with its spread."""

from tests.benchmarks import (
    bench_checkpoint,
    bench_evaluation,
    bench_many_jobs,
    bench_metrics,
    bench_queue,
    bench_quotas,
    bench_training,
)

for benchmark in (
    bench_training,
    bench_checkpoint,
    bench_evaluation,
    bench_queue,
    bench_many_jobs,
    bench_quotas,
    bench_metrics,
):
    print(f"\n{(benchmark.__doc__ or '').splitlines()[0]}")
    benchmark.main()
