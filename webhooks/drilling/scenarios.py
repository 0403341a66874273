"""What is done to the system while it sends. Each scenario is a campaign to everybody.

`calls_at_risk` is what a scenario may leave in doubt: the calls it hits while a provider may have
them. Whatever else is lost, doubled or in doubt is a defect.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from delivery.crashing import POINTS
from webhooks.drilling.judging import Outcome, Run
from webhooks.drilling.stage import Stage, Stuck

Play = Callable[[Stage, str], Iterator[Outcome]]
SENDERS = 2
SLOW_S = 0.2
"""How long an answer takes where calls shall be under way when somebody is killed."""
_TURN = {"expanding": 1, "splitting": 1, "answered": 47, "recorded": 2}
"""Point -> at which passing to die: in the middle of something. Others: at the third."""
_TURN_ONE_BY_ONE = {**_TURN, "answered": 7, "recording": 2}
_BEFORE = {"expanding", "claiming", "claimed", "composed", "recorded"}
"""Who dies there leaves nothing in doubt."""
_SPLIT = {"sendgrid", "mailgun"}
"""They refuse a whole call for one bad address."""


def points(stage: Stage, kind: str) -> Iterator[Outcome]:
    """A worker kills itself at each place that has a name; another one finishes."""
    stage.use(kind)
    if kind == "smtp":
        stage.pace(kind, SLOW_S)  # So that the answers of one call are not written at once.
    runs = [_die_at(stage, kind, point) for point in POINTS if _happens(point, kind)]
    stage.dispatchers(SENDERS)
    for run in runs:
        run.resume()
        run.finish()
    yield from (run.outcome() for run in runs)


def kills(stage: Stage, kind: str) -> Iterator[Outcome]:
    """Dispatchers are killed at random moments."""
    stage.use(kind)
    stage.pace(kind, SLOW_S)
    run = Run(stage, "workers killed at random", kind)
    _kill_at_random(run, stage.dispatchers(SENDERS), 10)
    yield run.outcome()


def celery(stage: Stage, kind: str) -> Iterator[Outcome]:
    """Celery workers are killed at random moments."""
    stage.use(kind)
    stage.pace(kind, SLOW_S)
    run = Run(stage, "Celery workers killed at random", kind)
    _kill_at_random(run, stage.celery(SENDERS), 8, calls=2)
    yield run.outcome()


def deploys(stage: Stage, kind: str) -> Iterator[Outcome]:
    """Workers are stopped politely, as by a deployment: that costs nothing at all."""
    stage.use(kind)
    run = Run(stage, "workers restarted by a deploy", kind)
    names = stage.dispatchers(SENDERS)
    for number in run.steps(4):
        stage.restart(names[number % SENDERS])
    yield run.outcome()


def asleep(stage: Stage, kind: str) -> Iterator[Outcome]:
    """A worker sleeps past its lease, and wakes up when others have done its work."""
    stage.use(kind)
    run = Run(stage, "asleep past the lease, before the call", kind)
    _sleep_at(run, "composed")
    run.finish()
    _wake(run)
    yield run.outcome()

    run = Run(stage, "asleep past the lease, with the answer", kind)
    run.calls_at_risk = 1
    _sleep_at(run, "answered")
    run.finish()
    _wake(run)
    yield run.outcome()


def early(stage: Stage, kind: str) -> Iterator[Outcome]:
    """The provider's events come before its answer is written, and the worker dies then."""
    stage.use(kind)
    run = Run(stage, "told before it was written, then killed", kind)
    run.calls_at_risk = 1
    _sleep_at(run, "answered")
    stage.hear()
    stage.kill("sleeper")
    run.kills += 1
    stage.wait_for_death("sleeper")
    yield run.outcome()


def flushed(stage: Stage, kind: str) -> Iterator[Outcome]:
    """Redis is emptied again and again under Celery."""
    stage.use(kind)
    run = Run(stage, "Redis flushed, five times", kind)
    stage.celery(SENDERS)
    for _ in run.steps(5):
        stage.flush_redis()
    yield run.outcome()


def redis_away(stage: Stage, kind: str) -> Iterator[Outcome]:
    """Redis is stopped: under Celery for some seconds; for dispatchers all the time."""
    stage.use(kind)
    run = Run(stage, "Redis stopped and started", kind)
    stage.celery(SENDERS)
    run.reach(0.3)
    with stage.redis.away():
        time.sleep(5)
    yield run.outcome()

    stage.use(kind)
    run = Run(stage, "no Redis at all, by dispatch", kind)
    with stage.redis.away():
        stage.dispatchers(SENDERS)
        run.finish()
    yield run.outcome()


def database(stage: Stage, kind: str) -> Iterator[Outcome]:
    """PostgreSQL is restarted and killed; and is away just when an answer is to be written."""
    stage.use(kind)
    run = Run(stage, "PostgreSQL restarted, three times", kind)
    stage.dispatchers(SENDERS)
    for _ in run.steps(3):
        run.calls_at_risk += SENDERS
        stage.database.restart()
    yield run.outcome()

    stage.use(kind)
    run = Run(stage, "PostgreSQL killed, three times", kind)
    stage.dispatchers(SENDERS)
    for _ in run.steps(3):
        run.calls_at_risk += SENDERS
        run.kills += 1
        stage.database.crash()
    yield run.outcome()

    stage.use(kind)
    run = Run(stage, "PostgreSQL away when the answer comes", kind)
    stage.dispatcher("sleeper", CRASH_AT="answered:47", CRASH_SIGNAL="STOP")
    stage.wait_for_sleep("sleeper")
    with stage.database.away():
        stage.wake("sleeper")
        time.sleep(3)
    yield run.outcome()


def silent(stage: Stage, kind: str) -> Iterator[Outcome]:
    """The provider accepts a call and never says so, in each way there is; or does not."""
    faults = {
        "hang": "provider accepts and hangs",
        "reset": "provider accepts and hangs up",
        "broken": "provider accepts and says 500",
        "lost": "provider hangs up and did not accept",
    }
    for fault, title in faults.items():
        stage.use(kind)
        run = Run(stage, title, kind)
        stage.dispatchers(SENDERS)
        for _ in run.steps(3):
            run.calls_at_risk += 1
            stage.fail(fault, kind, calls=1)
        yield run.outcome()


def down(stage: Stage, kind: str) -> Iterator[Outcome]:
    """A provider refuses everything: the other one takes over. All are gone: it waits."""
    stage.use(kind, stage.plan.second)
    run = Run(stage, "provider down, the other takes over", kind)
    stage.dispatchers(SENDERS)
    run.reach(0.2)
    stage.fail("429", kind, share=1.0)
    yield run.outcome()

    stage.use(kind)
    run = Run(stage, "provider killed, and back", kind)
    stage.dispatchers(SENDERS)
    run.reach(0.3)
    run.calls_at_risk = SENDERS
    stage.kill("sandbox")
    time.sleep(1)
    stage.restart("sandbox")
    stage.wait_for_providers()
    yield run.outcome()


def webhooks(stage: Stage, kind: str) -> Iterator[Outcome]:
    """Most webhooks are lost on the way; later ones settle what they can."""
    stage.use(kind)
    stage.esp.behave(webhook_drop=0.6, open=1.0)
    run = Run(stage, "webhooks lost, settled by later ones", kind)
    run.are_events_lost = True
    stage.dispatchers(SENDERS)
    for _ in run.steps(3):
        run.calls_at_risk += 1
        stage.fail("reset", kind, calls=1)
    yield run.outcome()


def chaos(stage: Stage, kind: str) -> Iterator[Outcome]:
    """All of it at once."""
    stage.use(kind, stage.plan.second)
    run = Run(stage, "all at once", kind)
    names = [*stage.dispatchers(SENDERS), "web"]
    for number in run.steps(10):
        run.kill(stage.dice.choice(names))
        if number == 3:
            stage.flush_redis()
        if number == 5:
            run.calls_at_risk += SENDERS
            stage.database.restart()
        if number in {2, 6, 8}:
            run.calls_at_risk += 1
            stage.fail("hang", kind, calls=1)
    yield run.outcome()


SCENARIOS: dict[str, Play] = {
    "points": points,
    "kills": kills,
    "celery": celery,
    "deploys": deploys,
    "asleep": asleep,
    "early": early,
    "flushed": flushed,
    "redis": redis_away,
    "database": database,
    "silent": silent,
    "down": down,
    "webhooks": webhooks,
    "chaos": chaos,
}
_WITH_EACH = {"points", "kills"}
"""Tried with each kind of provider; the others with the first."""


def play(stage: Stage, names: Sequence[str]) -> Iterator[Outcome]:
    """Go through scenarios; yield each row when it is known."""
    for name in names:
        for kind in stage.plan.kinds if name in _WITH_EACH else stage.plan.kinds[:1]:
            try:
                yield from SCENARIOS[name](stage, kind)
            except Stuck as stuck:
                yield Outcome.stuck(name, kind, str(stuck))
            stage.clear()


def _happens(point: str, kind: str) -> bool:
    return point != "splitting" or kind in _SPLIT


def _die_at(stage: Stage, kind: str, point: str) -> Run:
    """Let a worker kill itself there in a campaign of its own, which then rests."""
    run = Run(stage, f"killed at {point}", kind, with_odd=point == "splitting")
    turns = _TURN_ONE_BY_ONE if kind == "smtp" else _TURN
    stage.dispatcher("victim", CRASH_AT=f"{point}:{turns.get(point, 3)}")
    stage.wait_for_death("victim")
    run.kills = 1
    run.calls_at_risk = point not in _BEFORE
    run.pause()
    return run


def _kill_at_random(run: Run, names: Sequence[str], count: int, calls: int = 1) -> None:
    dice = run.stage.dice
    for _ in run.steps(count):
        run.wait_for_one_of(names)
        if run.is_over():
            return
        time.sleep(dice.uniform(0, 2 * SLOW_S))
        run.kill(dice.choice([name for name in names if name in run.stage.spoken]), calls)


def _sleep_at(run: Run, point: str) -> None:
    """Let one worker fall asleep there; others do what is left, and what it held."""
    turn = _TURN.get(point, 3)
    run.stage.dispatcher("sleeper", CRASH_AT=f"{point}:{turn}", CRASH_SIGNAL="STOP")
    run.stage.wait_for_sleep("sleeper")
    run.stage.dispatchers(1)


def _wake(run: Run) -> None:
    """Let the sleeper go on, long enough to do what it must not."""
    run.stage.wake("sleeper")
    time.sleep(3)
