"""Other implementations against ours, called by tests/interop.rs.

    client   FOLDER CACHE PATH...   python-tuf's client reads our repository
    simulate FOLDER                 python-tuf's metadata drives our client, scenario by scenario
    dsse     FILE KEY...            securesystemslib checks our statement
    attest   FILE KEY...            in-toto reads our statement
    restate  FILE OUT whole|as-written   in-toto states the same anew and signs it with a key of its own
    proof    DSSE PROOF LOG W...    a second reader of tlog-proofs, written from the specifications
"""

import base64
import hashlib
import json
import pathlib
import sys
from datetime import datetime, timedelta, timezone

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from google.protobuf import json_format
from in_toto.models.metadata import Envelope as InTotoEnvelope
from in_toto.models.metadata import Metadata as InTotoMetadata
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import (
    DelegatedRole, Delegations, Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp,
)
from tuf.ngclient import FetcherInterface, Updater


class FolderFetcher(FetcherInterface):
    """Serves `http://repository/...` from a folder."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def _fetch(self, url):
        path = self.folder / url.removeprefix("http://repository/")
        if not path.exists():
            raise DownloadHTTPError(f"no {path}", 404)
        yield path.read_bytes()


def client(folder, cache, *paths):
    cache = pathlib.Path(cache)
    (cache / "targets").mkdir(parents=True, exist_ok=True)
    first = (pathlib.Path(folder) / "metadata/1.root.json").read_bytes()
    updater = Updater(
        str(cache), "http://repository/metadata/", str(cache / "targets"),
        "http://repository/targets/", FolderFetcher(folder), bootstrap=first,
    )
    updater.refresh()
    for path in paths:
        info = updater.get_targetinfo(path)
        assert info is not None, path
        print(path, len(pathlib.Path(updater.download_target(info)).read_bytes()))


def dsse(file, *keys):
    envelope = Envelope.from_dict(json.loads(pathlib.Path(file).read_text()))
    public = [SSlibKey(f"ed25519:{key}", "ed25519", "ed25519", {"public": key}) for key in keys]
    verified = envelope.verify(public, len(public))
    print(len(verified), "signatures")


def attest(file, *keys):
    envelope = InTotoMetadata.from_dict(json.loads(pathlib.Path(file).read_text()))
    for key in keys:
        envelope.verify_signature({
            "keyid": f"ed25519:{key}", "keytype": "ed25519", "scheme": "ed25519",
            "keyval": {"public": key},
        })
    message = json_format.Parse(envelope.payload, statement_pb2.Statement())
    statement = Statement.copy_from_pb(message)
    statement.validate()
    print(statement.pb.predicate_type, *(subject.name for subject in statement.pb.subject))


def whole_numbers(value):
    if isinstance(value, dict):
        return {name: whole_numbers(one) for name, one in value.items()}
    if isinstance(value, list):
        return [whole_numbers(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def restate(file, out, whole):
    old = json.loads(base64.b64decode(json.loads(pathlib.Path(file).read_text())["payload"]))
    subjects = [
        ResourceDescriptor(one["name"], digest=one["digest"], annotations=one.get("annotations")).pb
        for one in old["subject"]
    ]
    statement = Statement(subjects, old["predicateType"], old["predicate"])
    statement.validate()
    # protobuf's JSON has every number of a predicate as a double: 17.0, which AMT-1 refuses.
    written = json_format.MessageToDict(statement.pb)
    if whole == "whole":
        written = whole_numbers(written)
    payload = json.dumps(written).encode()
    envelope = InTotoEnvelope(payload, "application/vnd.in-toto+json", {})
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw().hex()
    key = SSlibKey(f"ed25519:{public}", "ed25519", "ed25519", {"public": public})
    envelope.create_signature(CryptoSigner(private, key))
    pathlib.Path(out).write_text(json.dumps(envelope.to_dict()))
    print(f"ed25519:{public}")


def check(vkey, kind, message, signature):
    name, key_id, material = vkey.split("+", 2)
    material = base64.b64decode(material)
    assert material[0] == kind
    full = hashlib.sha256(name.encode() + b"\n" + material).digest()[:4]
    assert full.hex() == key_id and signature[:4] == full
    Ed25519PublicKey.from_public_bytes(material[1:]).verify(signature[-64:], message)


def proof(statement, file, log, *witnesses):
    envelope = json.loads(pathlib.Path(statement).read_text())
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    pae = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    lines = []
    for line in envelope["signatures"]:
        key = bytes.fromhex(line["keyid"].removeprefix("ed25519:"))
        lines.append(hashlib.sha256(key).digest() + base64.b64decode(line["sig"]))
    entry = hashlib.sha256(
        b"AMT-1 leaf" + hashlib.sha256(pae).digest() + bytes([len(lines)]) + b"".join(sorted(lines))
    ).digest()
    head, note = pathlib.Path(file).read_text().split("\n\n", 1)
    text, rest = note.rsplit("\n\n", 1)
    text += "\n"
    origin, size, root = text.split("\n")[:3]
    signatures = {}
    for line in rest.strip().split("\n"):
        dash, name, value = line.split(" ")
        assert dash == "\u2014"
        signatures[name] = base64.b64decode(value)
    check(log, 1, text.encode(), signatures[origin])
    for witness in witnesses:
        signature = signatures[witness.split("+")[0]]
        seconds = int.from_bytes(signature[4:12], "big")
        check(witness, 4, f"cosignature/v1\ntime {seconds}\n{text}".encode(), signature)
    version, index, *path = head.split("\n")
    assert version == "c2sp.org/tlog-proof@v1"
    index, size = int(index.removeprefix("index ")), int(size)
    leaf = hashlib.sha256(b"\0" + entry).digest()
    path = [base64.b64decode(one) for one in path]
    assert root_from(index, size, leaf, path) == base64.b64decode(root)
    print("entry", index, "of", size)


def root_from(index, size, leaf, path):
    """RFC 6962, 2.1.1, read as the recursion that defines it."""
    if size == 1:
        assert not path
        return leaf
    split = 1
    while split * 2 < size:
        split *= 2
    node = lambda a, b: hashlib.sha256(b"\1" + a + b).digest()
    if index < split:
        return node(root_from(index, split, leaf, path[:-1]), path[-1])
    return node(path[-1], root_from(index - split, size - split, leaf, path[:-1]))


class Simulator:
    """A repository made with python-tuf, one file a version, as a mirror would have it."""

    def __init__(self, folder, name):
        self.folder = pathlib.Path(folder) / name
        self.steps = []
        self.signers = {role: [CryptoSigner.generate_ed25519()] for role in
                        ("root", "timestamp", "snapshot", "targets", "acme", "review")}
        later = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=30)
        self.root = Root(expires=later, consistent_snapshot=True)
        for role in ("root", "timestamp", "snapshot", "targets"):
            self.root.add_key(self.signers[role][0].public_key, role)
        self.revocations = b'{"_type":"urn:aimass:revocations:v1","entries":[]}'
        self.targets = Targets(expires=later)
        self.targets.targets["revocations.json"] = TargetFile.from_data(
            "revocations.json", self.revocations, ["sha256"])
        roles, keys = {}, {}
        for role, paths in (("review", []), ("acme", ["acme/*"])):
            key = self.signers[role][0].public_key
            keys[key.keyid] = key
            roles[role] = DelegatedRole(role, [key.keyid], 1, True, paths)
        self.targets.delegations = Delegations(keys, roles)
        self.acme = Targets(expires=later)
        self.snapshot = Snapshot(expires=later)
        self.timestamp = Timestamp(expires=later)
        self.write_root()

    def sign(self, role, signed, name):
        metadata = Metadata(signed)
        for signer in self.signers[role]:
            metadata.sign(signer, append=True)
        data = metadata.to_bytes()
        if name:
            path = self.folder / str(len(self.steps)) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return data

    def write_root(self):
        self.sign("root", self.root, f"{self.root.version}.root.json")

    def bump_root(self):
        self.root.version += 1
        self.write_root()

    def link(self, name, signed, data):
        hashes = {"sha256": hashlib.sha256(data).hexdigest()}
        return MetaFile(signed.version, len(data), hashes)

    def step(self, expected, tamper=None):
        """Writes all other files and says what a client should make of this step."""
        here = self.folder / str(len(self.steps))
        for name, signed, file in (("targets", self.targets, "targets"), ("acme", self.acme, "acme")):
            data = self.sign(name, signed, f"{signed.version}.{file}.json")
            self.snapshot.meta[f"{file}.json"] = self.link(file, signed, data)
        data = self.sign("snapshot", self.snapshot, f"{self.snapshot.version}.snapshot.json")
        self.timestamp.snapshot_meta = self.link("snapshot", self.snapshot, data)
        self.sign("timestamp", self.timestamp, "timestamp.json")
        (here / "revocations.json").write_bytes(self.revocations)
        if tamper:
            tamper(here)
        self.steps.append(expected)
        self.timestamp.version += 1
        self.snapshot.version += 1

    def finish(self):
        (self.folder / "expected.json").write_text(json.dumps(self.steps))


def past():
    return datetime.now(timezone.utc).replace(microsecond=0) - timedelta(minutes=1)


def replace(file, old, new):
    def tamper(folder):
        found = next(folder.glob(file))
        text = found.read_bytes()
        assert old in text
        found.write_bytes(text.replace(old, new, 1))
    return tamper


def rotate(sim, role, keep_old_signer=False, threshold=1, count=1):
    new = [CryptoSigner.generate_ed25519() for _ in range(count)]
    for signer in sim.signers[role]:
        sim.root.revoke_key(signer.public_key.keyid, role)
    for signer in new:
        sim.root.add_key(signer.public_key, role)
    sim.root.roles[role].threshold = threshold
    old = sim.signers[role]
    sim.signers[role] = new + (old if keep_old_signer else [])
    return old, new


SCENARIOS = {}


def scenario(function):
    SCENARIOS[function.__name__] = function
    return function


@scenario
def plain_updates(sim):
    sim.step("ok")
    sim.targets.version += 1
    sim.step("ok")
    sim.acme.version += 4
    sim.step("ok")


@scenario
def root_keys_rotate(sim):
    sim.step("ok")
    _, new = rotate(sim, "root", keep_old_signer=True, threshold=2, count=3)
    sim.bump_root()
    sim.step("ok")
    sim.signers["root"] = new[1:]
    sim.bump_root()
    sim.step("ok")


@scenario
def root_by_new_keys_alone(sim):
    rotate(sim, "root")
    sim.bump_root()
    sim.step("AMT-ROOT")


@scenario
def root_by_old_keys_alone(sim):
    old, _ = rotate(sim, "root")
    sim.signers["root"] = old
    sim.bump_root()
    sim.step("AMT-ROOT")


@scenario
def root_below_its_threshold(sim):
    _, new = rotate(sim, "root", keep_old_signer=True, threshold=3, count=3)
    sim.signers["root"].remove(new[0])
    sim.bump_root()
    sim.step("AMT-ROOT")


@scenario
def root_expired(sim):
    sim.root.expires = past()
    sim.bump_root()
    sim.step("AMT-EXPIRED")


@scenario
def expired_root_in_between(sim):
    later, sim.root.expires = sim.root.expires, past()
    sim.bump_root()
    sim.root.expires = later
    sim.bump_root()
    sim.step("ok")


@scenario
def online_keys_rotate(sim):
    sim.step("ok")
    for role in ("timestamp", "snapshot", "targets"):
        rotate(sim, role)
    sim.bump_root()
    sim.step("ok")


@scenario
def old_timestamp_key(sim):
    old, _ = rotate(sim, "timestamp")
    sim.signers["timestamp"] = old
    sim.bump_root()
    sim.step("AMT-THRESHOLD")


@scenario
def fast_forward_and_recovery(sim):
    sim.timestamp.version = 99999
    sim.snapshot.version = 99999
    sim.step("ok")
    sim.timestamp.version = 1
    sim.snapshot.version = 1
    sim.step("AMT-ROLLBACK")
    rotate(sim, "timestamp")
    rotate(sim, "snapshot")
    sim.bump_root()
    sim.timestamp.version = 1
    sim.snapshot.version = 1
    sim.step("ok")


@scenario
def timestamp_rolls_back(sim):
    sim.timestamp.version = 5
    sim.step("ok")
    sim.timestamp.version = 4
    sim.step("AMT-ROLLBACK")


@scenario
def snapshot_rolls_back(sim):
    sim.snapshot.version = 5
    sim.step("ok")
    sim.snapshot.version = 4
    sim.step("AMT-ROLLBACK")


@scenario
def targets_roll_back(sim):
    sim.targets.version = 5
    sim.step("ok")
    sim.targets.version = 4
    sim.step("AMT-ROLLBACK")


@scenario
def publisher_rolls_back(sim):
    sim.acme.version = 5
    sim.step("ok")
    sim.acme.version = 4
    sim.step("AMT-ROLLBACK")


@scenario
def timestamp_expired(sim):
    sim.timestamp.expires = past()
    sim.step("AMT-EXPIRED")


@scenario
def snapshot_expired(sim):
    sim.snapshot.expires = past()
    sim.step("AMT-EXPIRED")


@scenario
def targets_expired(sim):
    sim.targets.expires = past()
    sim.step("AMT-EXPIRED")


@scenario
def publisher_expired(sim):
    sim.acme.expires = past()
    sim.step("AMT-EXPIRED")


@scenario
def snapshot_of_another_hash(sim):
    sim.step("AMT-MIX", replace("*.snapshot.json", b'"spec_version"', b' "spec_version"'))


@scenario
def targets_of_another_hash(sim):
    sim.step("AMT-MIX", replace("*.targets.json", b'"spec_version"', b' "spec_version"'))


@scenario
def timestamp_reformatted(sim):
    # White space is outside of canonical JSON, so the signature still holds.
    sim.step("ok", replace("timestamp.json", b'"spec_version"', b' "spec_version"'))


@scenario
def timestamp_changed(sim):
    sim.step("AMT-THRESHOLD", replace("timestamp.json", b'"version":1', b'"version":2'))


@scenario
def publisher_keys_rotate(sim):
    sim.step("ok")
    new = CryptoSigner.generate_ed25519()
    sim.targets.revoke_key(sim.signers["acme"][0].public_key.keyid, "acme")
    sim.targets.add_key(new.public_key, "acme")
    sim.targets.version += 1
    # The publisher's file is as before and was accepted before: the delegator of now counts.
    sim.step("AMT-THRESHOLD")
    sim.signers["acme"] = [new]
    sim.acme.version += 1
    sim.step("ok")


@scenario
def ecdsa_keys_do_not_count(sim):
    sim.signers["timestamp"][0] = CryptoSigner.generate_ecdsa()
    sim.root.roles["timestamp"].keyids = []
    sim.root.add_key(sim.signers["timestamp"][0].public_key, "timestamp")
    sim.bump_root()
    sim.step("AMT-FORMAT")


@scenario
def unknown_fields_are_kept_and_ignored(sim):
    sim.root.unrecognized_fields["x-note"] = {"é": ["\"\\\n", -1, None, True]}
    sim.bump_root()
    sim.targets.unrecognized_fields["x-note"] = "…"
    sim.step("ok")


def simulate(folder):
    for name, function in SCENARIOS.items():
        sim = Simulator(folder, name)
        function(sim)
        sim.finish()
    print(len(SCENARIOS), "scenarios")


if __name__ == "__main__":
    verbs = [client, simulate, dsse, attest, restate, proof]
    {verb.__name__: verb for verb in verbs}[sys.argv[1]](*sys.argv[2:])
