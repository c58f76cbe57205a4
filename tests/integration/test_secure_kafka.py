"""A Kafka that asks who comes: SASL over TLS, TLS on both sides, and users that may do one thing and not another."""

import os
import time
from pathlib import Path

import msgspec
import psutil
import pytest
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from stream.broker import ensure_topics, progress_for, publisher_for, tail_for
from stream.champion import Contest
from stream.config import ConfigError, load
from stream.contest import Published
from stream.kafka import BrokerError
from stream.publishing import Publishing
from stream.records import ARRIVED, Outgoing
from stream.secret import Secret
from stream.security import KafkaSecurity
from stream.topics import MODEL_BYTES
from tests.acceptance.harness import eventually, start, stop
from tests.integration.kafka_server import USERS, KafkaServer, runnable
from tests.unit.stream.models_fakes import HASHES, MODEL, Machine, snapshot
from tests.wanted import missing

NOWHERE = Path("/nonexistent/weir.toml")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = os.environ.get("KAFKA_HOME")
    if not home:
        missing("kafka-jars", "a Kafka that asks who comes is started from KAFKA_HOME, which is not set")
    reason = runnable(Path(home))
    if reason:
        missing("kafka-jars", reason)
    server = KafkaServer(Path(home), tmp_path_factory.mktemp("secure") / "broker", secure=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def admin(server):
    """The tests' own hands, through the listener in the clear."""
    client = KafkaAdminClient(bootstrap_servers=server.bootstrap)
    yield client
    client.close()


class Cluster:
    """The secure listener of a server, with topics of one tenant."""

    def __init__(self, server, admin, prefix):
        self.server, self.admin, self.prefix = server, admin, prefix
        self.url = f"kafka://localhost:{server.sasl_port}"
        self.clear = f"kafka://{server.bootstrap}"

    def environment(self, user, password=None, **more):
        """What a user of this cluster sets."""
        return {
            "WEIR_BROKER": self.url,
            "WEIR_TOPIC_PREFIX": self.prefix,
            "WEIR_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "WEIR_KAFKA_USER": user,
            "WEIR_KAFKA_PASSWORD": password or USERS[user],
            "WEIR_KAFKA_CA_FILE": str(self.server.authority.ca),
            **more,
        }

    def allow(self, user, *operations, topics="*", group="*"):
        """Let a user do these things with topics, and read with a group."""
        resources = [ResourcePattern(ResourceType.TOPIC, topics)]
        made = [self._acl(user, operation, each) for operation in operations for each in resources]
        made.append(self._acl(user, ACLOperation.READ, ResourcePattern(ResourceType.GROUP, group)))
        self.admin.create_acls(made)
        time.sleep(0.5)  # the broker takes them from its own log

    def forbid(self, user, operation, topic):
        """Whatever is allowed, not this."""
        rule = self._acl(user, operation, ResourcePattern(ResourceType.TOPIC, topic), ACLPermissionType.DENY)
        self.admin.create_acls([rule])
        time.sleep(0.5)
        return rule

    def lift(self, rule):
        """Take a rule away."""
        self.admin.delete_acls([rule])
        time.sleep(0.5)

    @staticmethod
    def _acl(user, operation, resource, permission=ACLPermissionType.ALLOW):
        return ACL(f"User:{user}", "*", operation, permission, resource)


@pytest.fixture
def cluster(server, admin, request):
    return Cluster(server, admin, f"t{abs(hash(request.node.name)) % 10**8}-")


def configured(environment):
    return load({}, environment, NOWHERE)


def test_sasl_over_tls_sends_and_counts(cluster):
    config = configured(cluster.environment("admin"))
    there_and_back(config)


def test_a_scram_user_whose_password_stands_in_a_file(cluster, tmp_path):
    cluster.admin.alter_user_scram_credentials(
        [UserScramCredentialUpsertion("scrammed", ScramMechanism.SCRAM_SHA_512, "scram-password-4")]
    )
    cluster.allow("scrammed", ACLOperation.ALL)
    secret = tmp_path / "password"
    secret.write_text("scram-password-4\n")
    environment = cluster.environment("scrammed", "-", WEIR_KAFKA_SASL_MECHANISM="SCRAM-SHA-512")
    del environment["WEIR_KAFKA_PASSWORD"]
    cluster.admin.create_topics({cluster.prefix + "t": {"num_partitions": 1}})
    there_and_back(configured({**environment, "WEIR_KAFKA_PASSWORD_FILE": str(secret)}))


def test_a_client_that_shows_its_own_certificate(cluster):
    cert, key = cluster.server.authority.certificate("client")
    cluster.allow("CN=client", ACLOperation.ALL)
    cluster.admin.create_topics({cluster.prefix + "t": {"num_partitions": 1}})
    there_and_back(
        configured(
            {
                "WEIR_BROKER": f"kafka://localhost:{cluster.server.tls_port}",
                "WEIR_TOPIC_PREFIX": cluster.prefix,
                "WEIR_KAFKA_SECURITY_PROTOCOL": "SSL",
                "WEIR_KAFKA_CA_FILE": str(cluster.server.authority.ca),
                "WEIR_KAFKA_CERT_FILE": str(cert),
                "WEIR_KAFKA_KEY_FILE": str(key),
            }
        )
    )


def there_and_back(config):
    topic = config.topic("t")
    ensure_topics(config.broker, {topic: 1}, config.kafka)
    publisher = publisher_for(config.broker, config.kafka)
    publisher.publish(topic, [Outgoing(b"k", b"v")])
    publisher.close()
    assert progress_for(config.broker, config.kafka).end_offsets(topic) == {0: 1}


def test_a_wrong_password_is_told_as_such_and_never_shown(cluster):
    config = configured(cluster.environment("admin", "not-the-password"))
    with pytest.raises(BrokerError, match=r"WEIR_KAFKA_PASSWORD") as refused:
        publisher_for(config.broker, config.kafka)
    assert "not-the-password" not in str(refused.value)


def test_a_broker_of_an_unknown_authority_is_told_as_such(cluster):
    unknown = KafkaSecurity(protocol="SASL_SSL", user="admin", password=Secret(USERS["admin"]))
    with pytest.raises(BrokerError, match=r"(?i)certificate.*WEIR_KAFKA_CA_FILE"):
        publisher_for(cluster.url, unknown)


def test_a_password_in_the_brokers_address_is_refused(cluster):
    with pytest.raises(ConfigError, match="WEIR_KAFKA_PASSWORD_FILE"):
        load({"broker": "kafka://admin:admin-password-1@localhost:9092"}, {}, NOWHERE)


def payments(count, begin=0):
    at = 1_700_000_000
    return [
        Outgoing(
            b"c1",
            msgspec.json.encode(
                {
                    "id": f"p{number}",
                    "at": f"2023-11-14T22:13:{20 + number % 30:02d}Z",
                    "card": "c1",
                    "merchant": "m",
                    "device": "d",
                    "amount": 5,
                    "currency": "EUR",
                }
            ),
            ((ARRIVED, b"%d" % ((at + 60) * 1_000_000)),),
        )
        for number in range(begin, begin + count)
    ]


def send(cluster, count, begin=0):
    publisher = publisher_for(cluster.clear)
    publisher.publish(cluster.prefix + "transactions", payments(count, begin))
    publisher.close()


def decided(cluster):
    return sum(progress_for(cluster.clear).end_offsets(cluster.prefix + "decisions").values())


def ended(worker):
    """Its exit status; one that does not end is killed."""
    try:
        return worker.wait(60)
    except psutil.TimeoutExpired:
        worker.kill()
        raise


def said(directory, role="score"):
    return (directory / f"worker---role-{role}.out").read_text()


@pytest.mark.slow
def test_a_user_that_may_read_transactions_but_not_write_decisions_loses_nothing(cluster, tmp_path):
    topics = ("transactions", "labels", "decisions", "alerts", "transactions.dlq", "labels.dlq", "models")
    ensure_topics(cluster.clear, {cluster.prefix + name: 1 for name in topics})
    cluster.allow("weir", ACLOperation.READ, ACLOperation.WRITE, ACLOperation.DESCRIBE)
    environment = cluster.environment("weir")
    send(cluster, 20)
    worker = start("worker", "--role", "score", directory=tmp_path, **environment)
    eventually(lambda: decided(cluster) == 20, "decided what there was")

    rule = cluster.forbid("weir", ACLOperation.WRITE, cluster.prefix + "decisions")
    send(cluster, 20, begin=20)
    assert ended(worker) == 70
    last = said(tmp_path).strip().splitlines()[-1]
    assert f"may not write the topic {cluster.prefix}decisions" in last

    again = start("worker", "--role", "score", directory=tmp_path, **environment)
    assert ended(again) == 1
    assert f"lacks what the role score needs: WRITE {cluster.prefix}decisions" in said(tmp_path)

    cluster.lift(rule)
    last = start("worker", "--role", "score", directory=tmp_path, **environment)
    eventually(lambda: decided(cluster) == 40, "decided the rest, and nothing twice")
    stop(last)
    assert USERS["weir"] not in said(tmp_path)


@pytest.mark.slow
def test_a_user_that_may_not_read_with_its_group_is_told_so(cluster, tmp_path):
    topics = ("transactions", "labels", "decisions", "alerts", "transactions.dlq", "labels.dlq", "models")
    ensure_topics(cluster.clear, {cluster.prefix + name: 1 for name in topics})
    cluster.allow("reader", ACLOperation.READ, ACLOperation.WRITE, ACLOperation.DESCRIBE, group="another")
    worker = start("worker", "--role", "score", directory=tmp_path, **cluster.environment("reader"))
    assert ended(worker) == 1
    last = said(tmp_path).strip().splitlines()[-1]
    assert f"the group {cluster.prefix}weir-score" in last
    assert "ACL" in last


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "operation", "lacks"),
    [("learn", ACLOperation.WRITE, "WRITE"), ("score", ACLOperation.READ, "READ")],
)
def test_a_learner_must_be_allowed_to_write_models_and_a_scorer_to_read_them(
    cluster, tmp_path, role, operation, lacks
):
    topics = ("transactions", "labels", "decisions", "alerts", "transactions.dlq", "labels.dlq", "models")
    ensure_topics(cluster.clear, {cluster.prefix + name: 1 for name in topics})
    cluster.allow("weir", ACLOperation.READ, ACLOperation.WRITE, ACLOperation.DESCRIBE)
    cluster.forbid("weir", operation, cluster.prefix + "models")
    worker = start("worker", "--role", role, directory=tmp_path, **cluster.environment("weir"))
    assert ended(worker) == 1
    assert f"lacks what the role {role} needs: {lacks} {cluster.prefix}models." in said(tmp_path, role)


@pytest.mark.slow
def test_models_go_from_a_learner_to_a_scorer_over_tls_with_passwords(cluster, tmp_path):
    """Each user may do what its role needs on `models`, and no more."""
    topic = cluster.prefix + "models"
    ensure_topics(cluster.clear, {topic: 1})
    cluster.allow("weir", ACLOperation.READ, ACLOperation.WRITE, ACLOperation.DESCRIBE, topics=topic)
    cluster.allow("reader", ACLOperation.READ, ACLOperation.DESCRIBE, topics=topic)
    machine = Machine(tmp_path / "keys").learner()
    learner, scorer = (configured(cluster.environment(user)) for user in ("weir", "reader"))

    def tail_of(config):
        return lambda: tail_for(config.broker, topic, config.kafka)

    publisher = publisher_for(learner.broker, learner.kafka, MODEL_BYTES)
    publishing = Publishing(publisher, topic, machine.key, machine.trusted(), tail_of(learner), model=MODEL)
    publishing.resume(snapshot(1))
    feed = Published(tail_of(scorer), Contest(machine.trusted(), "f", HASHES, MODEL))
    assert feed.newest().version == "null-1"
    feed.close()
    publishing.close()
