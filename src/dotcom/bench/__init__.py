"""One bench for everything that claims to be fast: ``python -m dotcom.bench``.

Each section is one module here, which answers with rows:

    def rows(effort: Effort, watch: Watch) -> Iterator[Row]

``dotcom.bench.sections`` imports it when it is its turn. What a section does:

    from dotcom.bench.row import Effort, Row, skipped
    from dotcom.bench.watch import Watch

    def rows(effort, watch):
        if reason := ...:  # an extra or a device that is missing
            yield skipped("train", "preset bf16", reason)
        ...
        times = watch.turns({"plain loop": plain, "preset": preset}, "training")  # interleaved, one thread, CPU time
        yield Row("train", "plain loop", times.ms("plain loop"))
        yield Row("train", "preset", times.ms("preset"), ratio=times.ratio("plain loop", "preset"), difference=1e-7)

* ``watch.turns`` takes functions without arguments, does the fixed work of the canary before, between and after the
  rounds (A B C, C B A, ...), and returns milliseconds of one call per round. A section that times in another way, on
  the wall or in other processes, calls ``watch.beat()`` before, between and after.
* ``watch.rounds`` is how many rounds the effort takes; ``effort`` is ``"quick"`` (all sections together below 90
  seconds), ``"normal"`` (about 5 minutes) or ``"full"``.
* A ratio is the time of the section's reference over that of the row: above 1 is faster.
* A row says how far its answer is from the reference's (``difference``: a number, or a word such as "identical"), and
  carries numbers that a floor may ask for (``numbers``) and short facts that are only shown (``facts``).
* Floors are no business of a section: ``dotcom.bench.floors.FLOORS`` has them by section and name of the row.
  Neither is contention: the rows of a section are marked by what the canary did since the last ``turns`` began.
"""
