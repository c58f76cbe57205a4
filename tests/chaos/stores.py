"""Redis, PostgreSQL and the disk fail; the log is the embedded one, but where it must have partitions."""

from __future__ import annotations

import time

import psutil
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from stream.review.database import FIRST_LOCK, LOCKS
from tests.chaos.fault import KAFKA, fault
from tests.chaos.stage import Stage
from tests.chaos.worker import Worker, eventually

BEHIND = "StoreBehind: the feature store has lost what it had applied"


def scoring(stage: Stage) -> Worker:
    """A scorer at work, under load."""
    worker = stage.worker("score")
    stage.begin()
    stage.after(0.2)
    return worker


# --- Redis


@fault()
def redis_restarted(stage: Stage) -> str:
    """Redis is killed and comes back with what it had on its disk, three times."""
    scoring(stage)
    for _ in range(3):
        stage.serving.kill()
        stage.moment()
        stage.serving.start()
        stage.moment()
    return "three times"


@fault(short=True)
def redis_robbed(stage: Stage) -> str:
    """Redis is killed, and lacks its last acknowledged writes when it comes back."""
    scoring(stage)
    share = stage.chance.choice((0.01, 0.1, 0.5))
    stage.serving.kill()
    stage.serving.cut(share)
    stage.serving.start()
    return f"the last {share:.0%} of its file"


@fault()
def redis_emptied(stage: Stage) -> str:
    """Somebody empties Redis (FLUSHALL), twice."""
    scoring(stage)
    for share in (0.3, 0.6):
        with stage.serving.client() as client:
            client.flushall()
        stage.after(share)
    return "twice"


@fault()
def redis_failed_over(stage: Stage) -> str:
    """Redis fails over to a replica that lacks the last second."""
    scoring(stage)
    primary = stage.serving
    replica = primary.replicated_by(stage.server)
    time.sleep(1.0)
    stage.use(replica)
    primary.kill()
    return f"{len(stage.of('score')[0].ends)} ends of the worker"


@fault(on=KAFKA, partitions=4)
def redis_robbed_on_kafka(stage: Stage) -> str:
    """Redis is killed while batches of four partitions are on their way, and lacks its last second, three times."""
    stage.load_seconds = 60.0  # a scorer that ended has its partitions back after a session's time only
    scorer, _, _ = (stage.worker(role) for role in ("score", "record", "learn"))
    stage.begin()
    for count in range(1, 4):
        decided = stage.decided()
        eventually(lambda: stage.decided() > decided + 50, "the scorer is at work")  # noqa: B023
        with stage.serving.client() as client:  # what comes meanwhile is a batch of all partitions
            client.execute_command("CLIENT", "PAUSE", "400", "ALL")
        stage.rob(1.0)
        eventually(lambda: scorer.text().count(BEHIND) >= count, "the scorer sees what is lost")  # noqa: B023
    stage.hurry()
    return f"{len(scorer.ends)} ends of the scorer"


@fault()
def redis_full(stage: Stage) -> str:
    """Redis is out of memory for a while."""
    worker = scoring(stage)
    with stage.serving.client() as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"])
        eventually(lambda: "is full: give it more memory" in worker.text(), "the worker says so")
        client.config_set("maxmemory", 0)
    return "until the worker said so"


@fault()
def redis_read_only(stage: Stage) -> str:
    """Redis takes no writes for a while."""
    worker = scoring(stage)
    with stage.serving.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        eventually(lambda: worker.ends, "the worker gives up")
        client.execute_command("REPLICAOF", "NO", "ONE")
    return "until the worker gave up"


@fault()
def redis_slow(stage: Stage) -> str:
    """Redis stands still for seconds, again and again."""
    scoring(stage)
    for _ in range(3):
        milliseconds = stage.chance.randint(500, 3_000)
        with stage.serving.client() as client:
            client.execute_command("CLIENT", "PAUSE", str(milliseconds), "ALL")
        stage.moment()
        time.sleep(milliseconds / 1000)
    return "three times"


@fault()
def redis_and_score_killed(stage: Stage) -> str:
    """Redis loses its last writes at the moment at which the worker is killed, with its outputs not yet committed."""
    stage.worker("score", f"score.sent:{stage.chance.randint(2, 6)}:KILL")
    worker = stage.workers[0]
    stage.begin()
    eventually(lambda: worker.ends, "the worker died")
    stage.serving.kill()
    stage.serving.cut(0.2)
    stage.serving.start()
    return "a fifth of its file"


# --- the disk


@fault()
def disk_full(stage: Stage) -> str:
    """The disk under the embedded log is full for some seconds."""
    worker = scoring(stage)
    until, limited = time.monotonic() + 4.0, set[int]()
    while time.monotonic() < until:
        limited |= narrowed(worker, stage)
        time.sleep(0.01)
    for pid in limited & {worker.pid}:
        psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
    eventually(lambda: "cannot be written" in worker.text(), "the worker says so", 5.0)
    return f"{len(worker.ends)} ends of the worker"


def narrowed(worker: Worker, stage: Stage) -> set[int]:
    """Let the worker write no file beyond a quarter of what the log has."""
    size = (stage.home / "log" / "log.db").stat().st_size // 4
    try:
        psutil.Process(worker.pid).rlimit(psutil.RLIMIT_FSIZE, (size, psutil.RLIM_INFINITY))
    except psutil.NoSuchProcess:
        return set()
    return {worker.pid}


# --- PostgreSQL


@fault(postgres=True)
def postgres_restarted(stage: Stage) -> str:
    """PostgreSQL ends all its connections, again and again, as it does when it restarts."""
    recording(stage)
    for _ in range(5):
        stage.moment(1.5)
        terminated(stage)
    return "five times"


@fault(postgres=True)
def postgres_read_only(stage: Stage) -> str:
    """PostgreSQL takes no writes for a while."""
    recorder = recording(stage)
    name = make_url(stage.database).database
    administered(stage, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    terminated(stage)
    eventually(lambda: recorder.ends, "the recorder gives up")
    administered(stage, f"ALTER DATABASE {name} RESET default_transaction_read_only")
    terminated(stage)
    return "until the recorder gave up"


@fault(postgres=True)
def postgres_deadlocked(stage: Stage) -> str:
    """The recorder is caught in a deadlock with somebody else, again and again."""
    recording(stage)
    engine = create_engine(make_url(stage.database).set(drivername="postgresql+psycopg"))
    broken = 0
    for _ in range(4):
        with engine.connect() as db:
            db.execute(text("SET deadlock_timeout = '10s'"))  # the recorder's is a second: it is the victim
            db.execute(text("LOCK TABLE counters IN ACCESS EXCLUSIVE MODE"))
            try:
                db.execute(text(f"SELECT pg_advisory_xact_lock({FIRST_LOCK + LOCKS.index('record')})"))
            except DBAPIError:
                broken += 1
            db.rollback()
        stage.moment()
    engine.dispose()
    return f"four times; {4 - broken} times it was the recorder that PostgreSQL broke off, if it was at work"


def recording(stage: Stage) -> Worker:
    """A scorer and a recorder at work, under load."""
    stage.load_seconds = 10.0
    stage.worker("score")
    recorder = stage.worker("record")
    stage.begin()
    stage.after(0.1)
    return recorder


def administered(stage: Stage, statement: str) -> None:
    """Say something to the server, from outside the database."""
    url = make_url(stage.database).set(drivername="postgresql+psycopg", database="postgres")
    engine = create_engine(url.difference_update_query(["options"]), isolation_level="AUTOCOMMIT")
    with engine.connect() as db:
        db.execute(text(statement))
    engine.dispose()


def terminated(stage: Stage) -> None:
    """End all connections to the database."""
    name = make_url(stage.database).database
    administered(stage, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
