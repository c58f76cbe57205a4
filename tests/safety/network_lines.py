"""The lines that let in no network but a sound one, of the profile's features, that somebody trusted signed."""

from __future__ import annotations

from tests.safety.line import Line

ARTIFACT = "tests/unit/models/test_artifact.py::"
TOPIC = "tests/unit/stream/test_networks.py::"

NETWORKS = (
    Line(
        "models/artifact.py",
        "        if found != told.size or _digest(self.weights) != told.digest:\n",
        "        if False:\n",
        "weights that are not those of the manifest are refused",
        ARTIFACT + "TestFiles::test_a_changed_byte_is_refused",
    ),
    Line(
        "models/artifact.py",
        "        if blake2b(body, digest_size=DIGEST_BYTES).digest() != digest:\n",
        "        if False:\n",
        "a packed network in which a byte changed is refused",
        ARTIFACT + "test_a_changed_byte_anywhere_in_the_packed_is_refused",
    ),
    Line(
        "models/artifact.py",
        "        if (size := file.stat().st_size) > most:\n",
        "        if (size := 0) > most:\n",
        "a file that is larger than such a network is not read",
        ARTIFACT + "test_a_file_of_weights_that_is_far_too_large_is_not_read",
    ),
    Line(
        "models/artifact.py",
        "    if found.keys() != expected.keys():\n",
        "    if not expected.keys() <= found.keys():\n",
        "only the tensors of the manifest's shape are let in",
        ARTIFACT + "test_weights_that_are_not_those_of_the_shape_are_refused_by_name",
    ),
    Line(
        "models/artifact.py",
        '    if kind != "F32" or size != shape:\n',
        "    if False:\n",
        "and only of the size that it asks for",
        ARTIFACT + "test_weights_that_are_not_those_of_the_shape_are_refused_by_name",
    ),
    Line(
        "models/artifact.py",
        "    if not np.isfinite(values).all():\n",
        "    if False:\n",
        "weights that are no numbers are refused",
        ARTIFACT + "test_weights_that_are_not_those_of_the_shape_are_refused_by_name",
    ),
    Line(
        "models/manifest.py",
        "        if data[len(HEAD) : BODY - len(BEHIND)] != _digest(data[BODY:]).encode():\n",
        "        if False:\n",
        "a manifest in which a byte changed is refused",
        ARTIFACT + "TestFiles::test_a_changed_byte_is_refused",
    ),
    Line(
        "models/manifest.py",
        "        if self.network != known:\n",
        "        if False:\n",
        "a network that is another than its id says is refused, and so what a later Weir chose and this one does not know",
        ARTIFACT + "test_a_choice_that_this_weir_does_not_know_is_not_passed_over",
    ),
    Line(
        "models/manifest.py",
        "        if not 1 <= (value := getattr(shape, name)) <= most:\n",
        "        if not (value := getattr(shape, name)) <= most:\n",
        "a manifest asks for no network that cannot be",
        ARTIFACT + "test_a_manifest_that_asks_for_what_is_not_there_is_refused_before_it_is_made",
    ),
    Line(
        "models/manifest.py",
        "        if missing or changed:\n",
        "        if False:\n",
        "a network reads only features that are declared as they were",
        ARTIFACT + "test_a_feature_that_is_missing_or_changed_is_told_by_name",
    ),
    Line(
        "stream/signing.py",
        "    if not key_of(key_id).holds(signature, head + message):\n",
        "    if key_of(key_id) is None:\n",
        "what a trusted key did not sign is refused: snapshots, networks, manifests",
        TOPIC + "test_a_changed_byte_of_an_envelope_is_noticed",
    ),
    Line(
        "stream/signing.py",
        "    if head[len(MAGIC)] != form:\n",
        "    if False:\n",
        "what was signed as one thing is not read as another",
        TOPIC + "test_who_knows_snapshots_alone_refuses_a_network_by_its_format",
    ),
    Line(
        "stream/contest.py",
        "        if newest is None or snapshot.number > newest.snapshot.number:\n",
        "        if newest is None or snapshot != newest.snapshot:\n",
        "an older snapshot or network that is sent again is refused",
        TOPIC + "test_an_older_one_that_is_sent_again_is_refused",
    ),
    Line(
        "stream/contest.py",
        "    if signed.name.encode() != record.key:\n",
        "    if False:\n",
        "a model is not taken for another",
        TOPIC + "test_one_that_cannot_be_used_is_refused_with_the_reason_and_the_one_before_stays",
    ),
    Line(
        "stream/networks.py",
        "    if manifest.entity != entity:\n",
        "    if False:\n",
        "a network reads the events of the entity that it was trained on",
        TOPIC + "test_a_network_fits_the_profile_whose_events_are_in_order_by_its_entity",
    ),
    Line(
        "stream/networks.py",
        "    key_id = signer_of_manifest(signature, manifest, trusted.key)\n",
        '    key_id = signature[12:20].hex() or "nobody"\n',
        "a folder that no trusted key signed is refused",
        TOPIC + "test_a_folder_that_nobody_signed_or_somebody_else_is_refused",
    ),
    Line(
        "stream/networks.py",
        "    _refuse_another(made, standing(open_tail, trusted))\n",
        "",
        "who published beside another is told that scorers refuse his",
        TOPIC + "test_of_two_who_publish_at_once_the_second_is_told",
    ),
)
